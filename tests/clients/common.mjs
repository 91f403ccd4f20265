// Shared by the Node programs: addresses, the demo identity, and requests without a library.

import assert from 'node:assert/strict'

export const [identity, api, control] = process.argv.slice(2)
export const client = { id: 'sim-client', secret: 'sim-secret' }
export const login = { username: 'alice@vbc.prod', password: 'sim-password', scope: 'openid' }
export const callback = 'http://localhost:8081/callback'
export const users = `${api}/t/vbc.prod/provisioning/api/accounts/self/users`

/// Injects a fault into the simulator.
export async function fault (members) {
  const response = await fetch(`${control}/__sim/faults`, { method: 'POST', body: JSON.stringify(members) })
  assert.equal(response.status, 200, await response.text())
}

/// The counters of the simulator.
export async function stats () {
  return (await fetch(`${control}/__sim/stats`)).json()
}

/// Follows an authorization URL as alice's browser does. Returns the URL of the callback.
export async function consent (url) {
  const response = await fetch(`${url}&sim_user=alice`, { redirect: 'manual' })
  assert.equal(response.status, 302)
  return new URL(response.headers.get('location'))
}

/// Asserts that the identity server no longer accepts the token.
export async function assertDead (token) {
  const response = await fetch(`${identity}/userinfo`, { headers: { authorization: `Bearer ${token}` } })
  assert.equal(response.status, 401)
}

/// Asserts that an API request succeeded.
export async function assertWorks (response) {
  const body = await response.text()
  assert.equal(response.status, 200, body)
  assert.ok(JSON.parse(body)._embedded.data.length > 0, body)
}

export function done (what) {
  console.log(what)
}
