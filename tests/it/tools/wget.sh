# wget.sh BASE BODY JOB...
base=$1 body=$2
shift 2
ask() {
    wget --no-config -nv -S --tries=1 --content-on-error -O response "$@" 2>said
    sed -n 's/^ *HTTP\/[0-9.]* \([0-9]*\).*/\1/p' said | tail -n 1
}
for job; do
    case $job in
    list) status=$(ask "$base/t/vbc.prod/provisioning/api/accounts/self/users?page_size=3&a=%2F") ;;
    call) status=$(ask --header 'Content-Type: application/json' \
        --post-data '{"type":"click2dial","from":{"destination":"1001"},"to":{"destination":"15550100"}}' \
        "$base/t/vbc.prod/telephony/v3/cc/accounts/self/calls") ;;
    upload) status=$(ask --header 'Content-Type: application/json' --post-file "$body" \
        "$base/t/vbc.prod/telephony/v3/cc/accounts/self/calls") ;;
    missing) status=$(ask "$base/t/vbc.prod/provisioning/api/accounts/self/users/999999") ;;
    esac
    echo "$job $status $(cat response)"
done
