// openid-client: discovery, a code with a nonce, PKCE and a maximum age of the login, signatures,
// and the other grants.

import assert from 'node:assert/strict'
import * as openid from 'openid-client'
import { assertWorks, assertDead, callback, client, consent, done, identity, login, users } from './common.mjs'

const wellKnown = new URL(`${identity}/t/vbc.prod/oauth2/token/.well-known/openid-configuration`)
const insecure = { execute: [openid.allowInsecureRequests] }
const issuer = 'https://apimanager.auth.prod.vonagenetworks.net:443/oauth2/token'

/// A configuration without discovery, because the service documents no keys. Without `auth`, the
/// library sends the client secret in the body.
function manual (auth) {
  const at = name => `${identity}/${name}`
  const server = {
    issuer, authorization_endpoint: at('authorize'), token_endpoint: at('token'),
    revocation_endpoint: at('revoke'), userinfo_endpoint: at('userinfo')
  }
  const config = new openid.Configuration(server, client.id, client.secret, auth)
  openid.allowInsecureRequests(config)
  return config
}

const discovered = await openid.discovery(wellKnown, client.id, client.secret, undefined, insecure)
openid.enableNonRepudiationChecks(discovered)
for (const [name, config] of [['discovered', discovered], ['manual', manual()]]) {
  const nonce = openid.randomNonce()
  const state = openid.randomState()
  const verifier = openid.randomPKCECodeVerifier()
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope: 'openid', nonce, state, max_age: '3600',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256'
  })
  const checks = {
    expectedNonce: nonce, expectedState: state, pkceCodeVerifier: verifier, maxAge: 3600, idTokenExpected: true
  }
  const tokens = await openid.authorizationCodeGrant(config, await consent(url), checks)
  const claims = tokens.claims()
  assert.deepEqual([claims.nonce, claims.sub], [nonce, login.username])
  assert.equal(claims.eClaims.accountNumber, '12345')
  await assertWorks(await openid.fetchProtectedResource(config, tokens.access_token, new URL(users), 'GET'))
  const info = await openid.fetchUserInfo(config, tokens.access_token, claims.sub)
  assert.equal(info.given_name, 'Alice')
  done(`${name} code`)

  const other = openid.authorizationCodeGrant(config, await consent(url), { ...checks, expectedNonce: 'other' })
  await assert.rejects(other, error => /nonce/.test(`${error.message} ${error.cause?.message}`))
  done(`${name} wrong nonce`)

  const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.notEqual(renewed.refresh_token, tokens.refresh_token)
  await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token), { error: 'invalid_grant' })
  await assertWorks(await openid.fetchProtectedResource(config, renewed.access_token, new URL(users), 'GET'))
  done(`${name} refresh`)

  await openid.tokenRevocation(config, renewed.refresh_token, { token_type_hint: 'refresh_token' })
  await assertDead(renewed.access_token)
  done(`${name} revocation`)

  const own = await openid.genericGrantRequest(config, 'password', login)
  await assertWorks(await openid.fetchProtectedResource(config, own.access_token, new URL(users), 'GET'))
  done(`${name} password`)
}

// The library encodes the parts of Basic (RFC 6749 §2.3.1). The service does not decode them.
const basic = manual(openid.ClientSecretBasic(client.secret))
await assert.rejects(openid.genericGrantRequest(basic, 'password', login), { error: 'invalid_client' })
done('basic is not decoded')
