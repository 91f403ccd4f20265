// An authorization server made with oidc-provider, and the API behind it.
// Grants: authorization_code and refresh_token, with rotation and reuse detection. A refresh token
// that is presented again revokes the whole grant, including the valid access token.

import http from "node:http";
import Provider from "oidc-provider";

const LIFETIME = 4;
const stats = { logins: 0, logins_refused: 0, refreshes: 0, refresh_reused: 0 };
let delay = 0; // seconds by which a token response is delayed after its grant is spent
const grants = new Set();
const accessTokens = new Set();

const server = http.createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "app",
      client_secret: "app-secret",
      redirect_uris: ["http://localhost:8081/callback"],
      application_type: "native",
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
  pkce: { required: () => false },
  ttl: { AccessToken: LIFETIME, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 3600, AuthorizationCode: 60 },
  cookies: { keys: ["only for tests on loopback"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
});

provider.on("grant.success", (ctx) => {
  stats[ctx.oidc.params.grant_type === "refresh_token" ? "refreshes" : "logins"] += 1;
});
provider.on("grant.error", (ctx, error) => {
  if (/already used|consumed/.test(error.error_detail ?? "")) stats.refresh_reused += 1;
});
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === "/token") await new Promise((resolve) => setTimeout(resolve, delay * 1000));
});
provider.on("access_token.saved", (token) => accessTokens.add(token.jti));
provider.on("refresh_token.saved", (token) => grants.add(token.grantId));

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

// Logs in as alice and consents to everything.
async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === "login") {
    const result = { login: { accountId: "alice@vbc.prod" } };
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  }
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: "app" });
  grant.addOIDCScope("openid offline_access");
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

async function respond(request, response) {
  const { pathname } = new URL(request.url, issuer);
  const send = (status, headers, body) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(body === undefined ? "" : JSON.stringify(body));
  };
  if (pathname.startsWith("/interaction/")) return interact(request, response);
  if (pathname.startsWith("/api/")) {
    const presented = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    const token = await provider.AccessToken.find(presented);
    if (token?.isValid) return send(200, {}, { user: token.accountId });
    return send(401, { "www-authenticate": 'Bearer error="invalid_token"' }, { error: "invalid_token" });
  }
  if (pathname === "/control/stats") return send(200, {}, stats);
  if (pathname === "/control/delay") {
    delay = Number(await read(request));
    return send(204, {});
  }
  if (pathname === "/control/revoke") {
    const what = await read(request);
    for (const jti of accessTokens) await (await provider.AccessToken.find(jti))?.destroy();
    accessTokens.clear();
    if (what === "all") {
      for (const id of grants) await provider.RefreshToken.revokeByGrantId(id);
      grants.clear();
    }
    return send(204, {});
  }
  return provider.callback()(request, response);
}

server.on("request", (request, response) => {
  respond(request, response).catch((error) => response.destroy(error));
});
console.log(issuer);
