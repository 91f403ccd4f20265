// An authorization server made with @node-oauth/oauth2-server, and the API behind it.
// Grants: password and refresh_token, with rotation.

import http from "node:http";
import OAuth2Server from "@node-oauth/oauth2-server";

const LIFETIME = 4;
const stats = { logins: 0, logins_refused: 0, refreshes: 0, refresh_reused: 0 };
const tokens = new Map(); // access token → token
const refreshTokens = new Map(); // refresh token → token
const spent = new Set();
let password = "right";
let delay = 0; // seconds by which a token response is delayed after its grant is spent

const model = {
  getClient: (id, secret) =>
    id === "app" && (secret === null || secret === "app-secret")
      ? { id, grants: ["password", "refresh_token"] }
      : false,
  getUser: (username, given) => {
    const good = username === "alice@vbc.prod" && given === password;
    stats[good ? "logins" : "logins_refused"] += 1;
    return good ? { username } : false;
  },
  saveToken: (token, client, user) => {
    const saved = { ...token, client, user };
    tokens.set(saved.accessToken, saved);
    refreshTokens.set(saved.refreshToken, saved);
    return saved;
  },
  getAccessToken: (token) => tokens.get(token),
  getRefreshToken: (token) => {
    if (spent.has(token)) stats.refresh_reused += 1;
    return refreshTokens.get(token);
  },
  revokeToken: (token) => {
    stats.refreshes += 1;
    spent.add(token.refreshToken);
    tokens.delete(token.accessToken);
    return refreshTokens.delete(token.refreshToken);
  },
  validateScope: (user, client, scope) => scope ?? ["openid"],
};

const oauth = new OAuth2Server({
  model,
  accessTokenLifetime: LIFETIME,
  refreshTokenLifetime: 3600,
  alwaysIssueNewRefreshToken: true,
});

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function respond(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  const text = await read(request);
  const send = (status, headers, body) => {
    const text = body === undefined ? "" : JSON.stringify(body);
    const type = body === undefined ? {} : { "content-type": "application/json" };
    response.writeHead(status, { ...type, ...headers });
    response.end(text);
  };
  const asked = new OAuth2Server.Request({
    method: request.method,
    headers: request.headers,
    query: {},
    body: Object.fromEntries(new URLSearchParams(text)),
  });
  const made = new OAuth2Server.Response({ headers: {} });
  if (pathname === "/token") {
    await oauth.token(asked, made).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, delay * 1000));
    return send(made.status ?? 500, made.headers, made.body);
  }
  if (pathname.startsWith("/api/")) {
    try {
      const token = await oauth.authenticate(asked, made);
      return send(200, {}, token.user);
    } catch (error) {
      return send(error.code ?? 500, made.headers, { error: error.name });
    }
  }
  if (pathname === "/control/stats") return send(200, {}, stats);
  if (pathname === "/control/password") {
    password = text;
    return send(204, {});
  }
  if (pathname === "/control/delay") {
    delay = Number(text);
    return send(204, {});
  }
  if (pathname === "/control/revoke") {
    tokens.clear();
    if (text === "all") refreshTokens.clear();
    return send(204, {});
  }
  return send(404, {}, { error: "not_found" });
}

const server = http.createServer((request, response) => {
  respond(request, response).catch((error) => response.destroy(error));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
