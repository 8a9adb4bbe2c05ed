// Calls to the API. The tokens are in cookies that scripts cannot read; an expired one is refreshed once, then retried.

export class Refusal extends Error {
  constructor(status, document) {
    super(document.detail ?? "");
    this.status = status;
    this.code = document.code ?? "network";
    this.document = document;
  }
}

let refreshing = null;

function refresh() {
  refreshing ??= fetch("/api/auth/refresh", { method: "POST" })
    .then((answer) => answer.ok)
    .catch(() => false)
    .finally(() => { refreshing = null; });
  return refreshing;
}

/** The JSON of an answer, null where it has none. Throws `Refusal` for anything but success. */
export async function call(method, path, body, options = {}) {
  const send = () => fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    ...options,
  });
  let answer;
  try {
    answer = await send();
    if (answer.status === 401 && !path.startsWith("/api/auth/")) {
      const { code } = await answer.clone().json();
      if (code !== "unauthenticated" && await refresh()) answer = await send();
      else if (code !== "unauthenticated") await fetch("/api/auth/logout", { method: "POST" });
    }
  } catch {
    throw new Refusal(0, { code: "network" });
  }
  const text = await answer.text();
  const document = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refusal(answer.status, document ?? {});
  return document;
}

export const get = (path, params = {}) => {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value != null && value !== ""));
  return call("GET", query.size ? `${path}?${query}` : path);
};
export const post = (path, body = {}, options) => call("POST", path, body, options);
