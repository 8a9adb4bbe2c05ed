// Logging in on a television without typing a password: it shows a code, somebody who is signed in lets it in (RFC 8628).

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { code, focusFirst, form } from "./forms.js";
import { t } from "./i18n.js";
import { loadAccount } from "./state.js";

/** An SVG of the server as an element. */
export function drawing(text, label) {
  const svg = new DOMParser().parseFromString(text, "text/html").querySelector("svg");
  if (!svg.hasAttribute("viewBox")) svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
  svg.setAttribute("aria-hidden", "true");
  return h("div", { class: "qr", role: "img", "aria-label": label }, document.adoptNode(svg));
}

/** The television's side. */
export async function television() {
  const given = await post("/api/auth/tv", {});
  const state = h("p", { class: "hint", role: "status" }, t("tv_waiting"));
  const again = h("button", { class: "button quiet", hidden: true, onclick: () => dispatchEvent(new HashChangeEvent("hashchange")) }, t("again_code"));
  const box = h("section", { class: "form tv" }, h("h1", {}, t("tv_title")),
    h("p", {}, t("tv_text", { address: given.verification_uri })),
    h("p", { class: "code", id: "user-code" }, given.user_code), drawing(given.qr, given.verification_uri_complete), state, again);
  const after = () => {
    let isOver = false;
    let pause = given.interval * 1000;
    const ask = async () => {
      if (isOver) return;
      try {
        await post("/api/auth/tv/token", { device_code: given.device_code });
      } catch (refusal) {
        if (refusal.code === "slow_down") pause += 5000;
        if (["authorization_pending", "slow_down", "network"].includes(refusal.code)) return setTimeout(ask, pause);
        state.textContent = t(refusal.code === "access_denied" ? "link_denied" : "tv_expired");
        again.hidden = false;
        return again.focus();
      }
      await loadAccount({ entered: true });
      location.hash = "#/profiles";
    };
    setTimeout(ask, pause);
    return () => { isOver = true; };
  };
  return { nodes: [box], after };
}

/** The side of whoever lets it in. */
export function link(known) {
  const made = form([h("h1", {}, t("link_title")), h("p", { class: "hint" }, t("link_text")), code()], t("ok"), async (given) => {
    const userCode = given.code.trim();
    const waiting = await get(`/api/auth/tv/${encodeURIComponent(userCode)}`);
    const device = waiting.device || t("device.unknown");
    const decide = (approve) => async () => {
      await post("/api/auth/tv/approve", { user_code: userCode, approve });
      allow.replaceWith(h("section", { class: "form" }, h("h1", {}, t("link_title")),
        h("p", { role: "status" }, t(approve ? "link_done" : "link_denied")), h("a", { class: "button", href: "#/" }, t("home"))));
    };
    const allow = form([h("h1", {}, t("link_title")), h("p", {}, t("link_sure", { device }))], t("link_allow"), decide(true));
    allow.append(h("button", { class: "button quiet", type: "button", onclick: decide(false) }, t("link_deny")));
    made.replaceWith(allow);
    allow.querySelector("button").focus();
  });
  made.elements.code.value = known ?? "";
  return { nodes: [made], after: focusFirst(made) };
}
