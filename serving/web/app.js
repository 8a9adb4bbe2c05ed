// The page: which screen belongs to the address, the bar on top, the keys.

import { explain, h, moveFocus, notice, show } from "./dom.js";
import { language, setLanguage, t } from "./i18n.js";
import { leave, loadAccount, state } from "./state.js";
import * as views from "./views.js";

let end = null;

function bar() {
  const search = h("form", { role: "search", onsubmit: (event) => {
    event.preventDefault();
    location.hash = `#/all?${new URLSearchParams({ q: new FormData(search).get("q") })}`;
  } }, h("input", { name: "q", type: "search", placeholder: t("search"), "aria-label": t("search") }));
  const person = state.account
    ? [h("a", { href: "#/profiles" }, state.profile?.name ?? t("profile")),
      h("button", { class: "plain", onclick: async () => { await leave(); location.hash = "#/"; await route(); } }, t("logout"))]
    : [h("a", { href: "#/login" }, t("login"))];
  const other = h("button", { class: "plain", lang: language === "en" ? "ru" : "en", onclick: async () => {
    setLanguage(language === "en" ? "ru" : "en");
    await route();
  } }, t("switch_language"));
  document.getElementById("nav").replaceChildren(h("a", { href: "#/all" }, t("catalogue")), search, other, ...person);
  document.getElementById("skip").textContent = t("skip");
}

function screen() {
  const [path, query] = location.hash.slice(1).split("?");
  const [, name = "", id = ""] = path.split("/");
  const screens = {
    "": () => views.home(),
    all: () => views.catalogue(new URLSearchParams(query)),
    title: () => views.title(decodeURIComponent(id)),
    watch: () => state.account ? views.watch(decodeURIComponent(id)) : views.login(false),
    login: () => views.login(false),
    register: () => views.login(true),
    profiles: () => views.profiles(),
  };
  return screens[name] ?? screens[""];
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
    if (mine === turn) show(h("p", { class: "refusal", role: "alert" }, explain(refusal)), h("a", { class: "button quiet", href: "#/" }, t("home")));
  }
}

addEventListener("hashchange", route);
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
