// The page: which screen belongs to the address, the bar on top, the keys.

import { Refusal, post, remedies } from "./api.js";
import { account } from "./account.js";
import { billing, paid, watchOverPayments } from "./billing.js";
import { catalogue, favourites, history, home, onboarding } from "./browse.js";
import { checkout, plans } from "./checkout.js";
import { explain, h, moveFocus, notice, show } from "./dom.js";
import { confirm, login, recover, register, remember, reset } from "./entry.js";
import { reauthenticated } from "./forms.js";
import { language, setLanguage, t } from "./i18n.js";
import { chooser, editor, face } from "./profiles.js";
import { isGuarded, isUndecided, leave, loadAccount, state } from "./state.js";
import { title } from "./title.js";
import { link, television } from "./tv.js";
import { watch } from "./watch.js";

let end = null;

function bar() {
  const search = h("form", { role: "search", onsubmit: (event) => {
    event.preventDefault();
    location.hash = `#/all?${new URLSearchParams({ q: new FormData(search).get("q") })}`;
  } }, h("input", { name: "q", type: "search", placeholder: t("search"), "aria-label": t("search") }));
  const other = h("button", { class: "plain", lang: language === "en" ? "ru" : "en", onclick: async () => {
    setLanguage(language === "en" ? "ru" : "en");
    await route();
    watchOverPayments();
    document.querySelector("#nav button[lang]").focus();
  } }, t("switch_language"));
  const lists = state.profile ? [to("#/favourites", t("favourites")), to("#/history", t("history"))] : [];
  const nav = document.getElementById("nav");
  nav.setAttribute("aria-label", t("main_menu"));
  nav.replaceChildren(to("#/all", t("catalogue")), ...lists, search, other, ...person());
  document.getElementById("skip").textContent = t("skip");
}

/** A link of the bar, which tells where one is. */
function to(href, ...words) {
  return h("a", { href, "aria-current": location.hash.split("?")[0] === href && "page" }, words);
}

function person() {
  const priced = to("#/plans", t("plans"));
  if (!state.account) return [priced, to("#/login", t("login"))];
  const mine = h("a", { href: "#/profiles", class: "person" }, state.profile && face(state.profile), h("span", {}, state.profile?.name ?? t("profile")));
  if (isGuarded()) return [mine];
  const out = h("button", { class: "plain", onclick: async () => { await leave(); location.hash = "#/"; await route(); } }, t("logout"));
  return [mine, priced, to("#/billing", t("billing")), to("#/account", t("account")), out];
}

// What everybody may open, who is signed in, and who has said who watches.
const OPEN = new Set(["login", "register", "recover", "reset", "confirm", "tv", "plans"]);
const SIGNED_IN = new Set(["watch", "profiles", "profile", "account", "favourites", "history", "onboarding", "link", "billing", "checkout", "paid"]);
const UNDECIDED = new Set(["profiles", "profile", "account", "link", "billing", "paid"]);

function screen() {
  const [path, query] = location.hash.slice(1).split("?");
  const [, name = "", rest = ""] = path.split("/");
  const asked = new URLSearchParams(query), id = decodeURIComponent(rest);
  const screens = {
    "": home,
    all: () => catalogue(asked),
    title: () => title(id),
    watch: () => watch(id),
    login, register, recover,
    reset: () => reset(asked.get("token")),
    confirm: () => confirm(asked.get("token")),
    tv: television,
    link: () => link(asked.get("code")),
    profiles: chooser,
    profile: () => editor(id),
    account, favourites, history, onboarding, billing,
    plans: () => plans(asked),
    checkout: () => checkout(asked),
    paid: () => paid(id),
  };
  if (!state.account && SIGNED_IN.has(name)) {
    remember(location.hash);
    return login;
  }
  if (isUndecided() && !UNDECIDED.has(name) && !OPEN.has(name)) return chooser;
  return screens[name] ?? home;
}

let turn = 0;

async function route() {
  const mine = ++turn;
  end?.();
  end = null;
  bar();
  try {
    const { nodes, after } = await screen()();
    // Whoever went on meanwhile shall not be thrown back by an answer that came late.
    if (mine !== turn) return;
    show(nodes);
    const ending = after?.();
    end = typeof ending === "function" ? ending : null;
  } catch (refusal) {
    if (refusal.code === undefined) throw refusal;
    if (mine === turn) await refused(refusal);
  }
  if (mine === turn) arrive();
}

/** Tell what screen this is; whoever came by keyboard goes on at its beginning, not at that of the page. */
function arrive() {
  const heading = document.querySelector("#view h1")?.textContent;
  document.title = heading ? `${heading} · Matinee` : "Matinee";
  if (turn > 1 && document.activeElement === document.body) document.getElementById("view").focus({ preventScroll: true });
}

async function refused(refusal) {
  if (["pin_required", "childs_profile", "unknown_profile"].includes(refusal.code)) {
    await loadAccount();
    bar();
    return show(chooser().nodes);
  }
  show(h("h1", {}, t("sorry")), h("p", { class: "refusal", role: "alert" }, explain(refusal)), h("a", { class: "button quiet", href: "#/" }, t("home")));
}

// What only the owner may do is tried again once they have shown who they are.
remedies.fresh_required = () => reauthenticated((secret) =>
  post("/api/auth/reauthenticate", { password: secret }).catch((refusal) => {
    if (!/^[0-9A-Za-z-]{6,20}$/.test(secret)) throw refusal;
    return post("/api/auth/reauthenticate", { code: secret });
  }));

addEventListener("hashchange", route);
// What was pressed and refused, where no form tells why.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Refusal)) return;
  event.preventDefault();
  notice(explain(event.reason));
});
addEventListener("keydown", moveFocus);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("view").focus();
});
setLanguage(language);
try {
  await loadAccount();
} catch (refusal) {
  notice(explain(refusal));
}
await route();
watchOverPayments();
