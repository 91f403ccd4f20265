// fetch.mjs BASE BODY JOB...
import { readFileSync } from 'node:fs';

const [base, body, ...jobs] = process.argv.slice(2);
const users = base + '/t/vbc.prod/provisioning/api/accounts/self/users';
const calls = base + '/t/vbc.prod/telephony/v3/cc/accounts/self/calls';
const headers = { 'Content-Type': 'application/json' };
const call = { type: 'click2dial', from: { destination: '1001' }, to: { destination: '15550100' } };

const send = {
    list: () => fetch(users + '?page_size=3&a=%2F'),
    call: () => fetch(calls, { method: 'POST', headers, body: JSON.stringify(call) }),
    // A stream is sent in chunks.
    upload: () => fetch(calls, { method: 'POST', headers, body: new Blob([readFileSync(body)]).stream(), duplex: 'half' }),
    missing: () => fetch(users + '/999999'),
};
for (const job of jobs) {
    const response = await send[job]();
    console.log(job, response.status, await response.text());
}
