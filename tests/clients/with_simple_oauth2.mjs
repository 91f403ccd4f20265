// simple-oauth2: password and code, refresh of an expired token, and both tokens revoked together.

import assert from 'node:assert/strict'
import oauth from 'simple-oauth2'
import { assertWorks, assertDead, callback, client, consent, done, fault, identity, login, stats, users } from './common.mjs'

const auth = { tokenHost: identity, tokenPath: '/token', revokePath: '/revoke' }

async function ask (token) {
  await assertWorks(await fetch(users, { headers: { authorization: `Bearer ${token.token.access_token}` } }))
}

for (const authorizationMethod of ['header', 'body']) {
  const config = { client, auth, options: { authorizationMethod } }
  const person = new oauth.ResourceOwnerPassword(config)
  const code = new oauth.AuthorizationCode({ ...config, auth: { ...auth, authorizePath: '/authorize' } })

  await fault({ fault: 'expires_in_as', value: -1, endpoint: 'token', count: 1 })
  const expired = await person.getToken(login)
  assert.ok(expired.expired())
  const renewed = await expired.refresh()
  assert.ok(!renewed.expired() && renewed.token.refresh_token !== expired.token.refresh_token)
  await ask(renewed)
  await assert.rejects(expired.refresh(), error => error.data.payload.error === 'invalid_grant')
  done(`${authorizationMethod} password and refresh`)

  const before = (await stats()).revokes
  await renewed.revokeAll()
  assert.equal((await stats()).revokes - before, 2)
  await assertDead(renewed.token.access_token)
  await assert.rejects(renewed.refresh(), error => error.data.payload.error === 'invalid_grant')
  done(`${authorizationMethod} revokeAll`)

  const url = code.authorizeURL({ redirect_uri: callback, scope: 'openid', state: 's' })
  const location = await consent(url)
  assert.equal(location.searchParams.get('state'), 's')
  const token = await code.getToken({ code: location.searchParams.get('code'), redirect_uri: callback })
  await ask(token)
  await token.revoke('refresh_token')
  await assertDead(token.token.access_token)
  done(`${authorizationMethod} code`)

  const own = await new oauth.ClientCredentials(config).getToken({ scope: 'openid' })
  assert.equal(own.token.refresh_token, undefined)
  done(`${authorizationMethod} client credentials`)
}
