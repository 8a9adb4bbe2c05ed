// Calls to the API. The tokens are in cookies that scripts cannot read; an expired one is refreshed once, then retried.

export class Refusal extends Error {
  constructor(status, document, retryAfter = null) {
    super(document.detail ?? "");
    this.status = status;
    this.code = document.code ?? "network";
    this.document = document;
    this.retryAfter = retryAfter;
  }
}

/** What may be done about a refusal, by its code: `async (refusal) => whether to try once more`. */
export const remedies = {};

let refreshing = null;

function refresh() {
  refreshing ??= fetch("/api/auth/refresh", { method: "POST" })
    .then((answer) => answer.ok)
    .catch(() => null) // nobody answered, or the page is being left: that is no sign-out
    .finally(() => { refreshing = null; });
  return refreshing;
}

const STALE = ["token_expired", "invalid_token", "session_over"]; // of an access token

async function ask(send, path) {
  let answer;
  try {
    answer = await send();
    if (answer.status === 401) {
      const { code } = await answer.clone().json();
      if (STALE.includes(code)) {
        const renewed = await refresh();
        if (renewed) answer = await send();
        else if (renewed === false && path !== "/api/auth/logout") await fetch("/api/auth/logout", { method: "POST" });
      }
    }
  } catch {
    throw new Refusal(0, { code: "network" });
  }
  const text = await answer.text();
  const document = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refusal(answer.status, document ?? {}, answer.headers.get("retry-after"));
  return document;
}

/** The JSON of an answer, null where it has none. Throws `Refusal` for anything but success. */
export async function call(method, path, body, { key, ...options } = {}) {
  const headers = { "Accept-Language": document.documentElement.lang };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const send = () => fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    ...options,
  });
  try {
    return await ask(send, path);
  } catch (refusal) {
    if (!await remedies[refusal.code]?.(refusal)) throw refusal;
    return ask(send, path);
  }
}

export const get = (path, params = {}) => {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value != null && value !== ""));
  return call("GET", query.size ? `${path}?${query}` : path);
};
export const post = (path, body = {}, options) => call("POST", path, body, options);
export const put = (path, body) => call("PUT", path, body);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

/** What costs money: `act(key, …)` with a key of its own, the same one until an answer came, so that nothing is paid twice. */
export function pressing(act) {
  let key = null;
  return async (...given) => {
    key ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    try {
      const done = await act(key, ...given);
      key = null;
      return done;
    } catch (refusal) {
      if (refusal.status >= 400 && refusal.status < 500 && refusal.code !== "in_flight") key = null;
      throw refusal;
    }
  };
}
