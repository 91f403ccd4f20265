# curl.sh BASE BODY JOB... – CURL_VERSION has the option for the version of HTTP.
base=$1 body=$2
shift 2
ask() { curl -q -sS "$CURL_VERSION" -o response -w '%{http_code}' "$@"; }
for job; do
    case $job in
    list) status=$(ask "$base/t/vbc.prod/provisioning/api/accounts/self/users?page_size=3&a=%2F") ;;
    call) status=$(ask --json '{"type":"click2dial","from":{"destination":"1001"},"to":{"destination":"15550100"}}' \
        "$base/t/vbc.prod/telephony/v3/cc/accounts/self/calls") ;;
    upload) status=$(ask -H 'Content-Type: application/json' --data-binary "@$body" \
        "$base/t/vbc.prod/telephony/v3/cc/accounts/self/calls") ;;
    missing) status=$(ask "$base/t/vbc.prod/provisioning/api/accounts/self/users/999999") ;;
    esac
    echo "$job $status $(cat response)"
done
