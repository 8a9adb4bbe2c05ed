// Getting in: logging in with a second factor where there is one, registering, a forgotten password, links of letters.

import { post } from "./api.js";
import { h, notice } from "./dom.js";
import { code, email, field, focusFirst, form, newPassword } from "./forms.js";
import { language, t } from "./i18n.js";
import { loadAccount, state } from "./state.js";

const go = (hash) => { location.hash = hash; };

/** Where somebody wanted to go before logging in. */
let wanted = null;
export const remember = (hash) => { wanted = hash; };

async function entered(isNew = false) {
  await loadAccount({ entered: true });
  const there = isNew ? "#/onboarding" : wanted ?? (state.profile ? "#/" : "#/profiles");
  wanted = null;
  if (location.hash === there) dispatchEvent(new HashChangeEvent("hashchange"));
  else go(there);
}

export function login() {
  const made = form([
    h("h1", {}, t("login")),
    email(),
    field("password", t("password"), { type: "password", maxlength: 256, autocomplete: "current-password" }),
  ], t("login"), async (given) => {
    try {
      await post("/api/auth/login", { email: given.email, password: given.password });
    } catch (refusal) {
      if (refusal.code !== "second_factor_required") throw refusal;
      made.replaceWith(secondFactor(refusal.document.challenge));
      document.querySelector("input[name=code]").focus();
      return;
    }
    await entered();
  });
  made.append(h("p", {}, h("a", { href: "#/recover" }, t("forgot"))), h("p", {}, h("a", { href: "#/register" }, t("no_account"))),
    h("p", {}, h("a", { href: "#/tv" }, t("tv_title"))));
  return { nodes: [made], after: focusFirst(made) };
}

function secondFactor(challenge) {
  return form([h("h1", {}, t("second_factor")), h("p", { class: "hint" }, t("second_factor_text")), code()], t("login"), async (given) => {
    await post("/api/auth/login/code", { challenge, code: given.code.trim() });
    await entered();
  });
}

export function register() {
  const country = navigator.language.split("-")[1]?.toUpperCase();
  const made = form([
    h("h1", {}, t("register")),
    email(),
    newPassword(),
    field("country", t("country"), { required: false, maxlength: 2, pattern: "[A-Za-z]{2}", autocomplete: "country", value: /^[A-Z]{2}$/.test(country ?? "") ? country : "" }),
  ], t("register"), async (given) => {
    const region = given.country ? { country: given.country.toUpperCase() } : {};
    await post("/api/auth/register", { email: given.email, password: given.password, language, ...region });
    await entered(true);
  });
  made.append(h("p", {}, h("a", { href: "#/login" }, t("have_account"))));
  return { nodes: [made], after: focusFirst(made) };
}

export function recover() {
  const made = form([h("h1", {}, t("recover")), h("p", { class: "hint" }, t("recover_text")), email()], t("send"), async (given) => {
    await post("/api/auth/recover", { email: given.email });
    made.replaceChildren(h("h1", {}, t("recover")), h("p", { role: "status" }, t("recover_sent")), h("p", {}, h("a", { href: "#/login" }, t("login"))));
  });
  return { nodes: [made], after: focusFirst(made) };
}

export function reset(token) {
  const made = form([h("h1", {}, t("reset")), newPassword(t("password_new"))], t("save"), async (given) => {
    await post("/api/auth/reset", { token, password: given.password });
    notice(t("reset_done"));
    go("#/login");
  });
  return { nodes: [made], after: focusFirst(made) };
}

export async function confirm(token) {
  await post("/api/auth/confirm", { token });
  return { nodes: [h("div", { class: "form" }, h("h1", {}, t("email")), h("p", { role: "status" }, t("confirm_done")), h("a", { class: "button", href: "#/" }, t("home")))] };
}
