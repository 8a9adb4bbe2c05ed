// The account's money: the plan and what becomes of it, ways to pay, balance, invoices.

import { call, get, post, pressing, put, remove } from "./api.js";
import { h } from "./dom.js";
import { choice, confirmed, dialog, form } from "./forms.js";
import { day, language, t } from "./i18n.js";
import { isGuarded, state } from "./state.js";

const again = () => dispatchEvent(new HashChangeEvent("hashchange"));
const section = (title, ...parts) => h("section", { class: "form" }, h("h2", {}, title), parts);
const moves = "/api/billing/subscription";

function button(words, onclick, kind = "button quiet") {
  return h("button", { class: kind, onclick: async ({ currentTarget }) => {
    currentTarget.disabled = true;
    try {
      await onclick();
    } finally {
      currentTarget.disabled = false;
    }
  } }, words);
}

/** Go where an order is paid, or on to what it opened. */
export function follow(order) {
  const payment = order.payment;
  if (payment?.checkout_url) return location.assign(payment.checkout_url);
  location.hash = payment ? `#/paid/${payment.payment_id}` : "#/paid/now";
}

export async function billing() {
  const [money, invoices] = await Promise.all([get("/api/billing"), get("/api/billing/invoices")]);
  return { nodes: [h("h1", {}, t("billing")), h("div", { class: "sections" }, planSection(money), methodsSection(money),
    money.balance.length > 0 && section(t("balance"), h("p", {}, money.balance.map((one) => one.text).join(", ")), h("p", { class: "hint" }, t("balance_text"))),
    invoicesSection(invoices))] };
}

function planSection({ subscription: mine }) {
  const choose = h("a", { class: "button", href: "#/plans" }, t(mine ? "change_plan" : "choose_plan"));
  if (!mine) return section(t("plan"), h("p", {}, t("no_plan")), h("p", {}, choose));
  const paid = mine.next_plan && mine.state === "trialing" ? mine.next_plan : mine.plan;
  return section(t("plan"), h("p", { class: "plan-name" }, mine.plan.name), h("p", { class: mine.state === "past_due" ? "refusal" : "" }, standing(mine)),
    mine.state !== "trialing" && h("p", { class: "hint" }, t(`every.${paid.months}`, { price: paid.amount.text })),
    mine.next_charge && h("p", { class: "hint" }, t("next_charge", { price: mine.next_charge.text, at: day(mine.next_charge_at) })),
    mine.next_plan && h("p", { class: "hint" }, t("next_plan", { plan: mine.next_plan.name, at: day(mine.until) })),
    h("p", { class: "buttons" }, mine.state === "past_due" && payButton(mine), mine.state !== "past_due" && choose, ...buttons(mine)));
}

/** The state in plain words. */
function standing(mine) {
  const until = { at: mine.until && day(mine.until), resumes: mine.resumes_at && day(mine.resumes_at) };
  if (mine.ends) return t("state.ends", until);
  if (mine.pauses) return t("state.pauses", until);
  if (mine.state === "trialing") return t(mine.next_plan ? "state.trial_paid" : "state.trialing", until);
  if (mine.state === "active" && !mine.next_charge) return t("state.runs_out", until);
  if (mine.state === "paused" && !mine.resumes_at) return t("state.paused_open");
  return t(`state.${mine.state}`, until);
}

const payButton = (mine) => mine.to_pay && button(t("pay_now"),
  pressing(async (key) => follow(await post(`/api/billing/invoices/${mine.to_pay}/pay`, {}, { key }))), "button");

function buttons(mine) {
  const move = (name, body) => async () => { await post(`${moves}/${name}`, body); again(); };
  if (mine.ends || mine.pauses) return [button(t("keep_plan"), move("keep"))];
  const end = button(t("cancel_plan"), async () => {
    const text = t(mine.state === "active" || mine.state === "trialing" ? "cancel_text" : "cancel_now_text", { at: mine.until && day(mine.until) });
    if (await confirmed(t("cancel_plan"), text, t("cancel_yes"))) await move("cancel")();
  });
  if (mine.state === "paused") return [button(t("resume_plan"), pressing(async (key) => follow(await post(`${moves}/resume`, {}, { key })))), end];
  const later = mine.next_plan && mine.state === "active" && button(t("keep_this"), move("keep"));
  return [later, mine.state === "active" && mine.next_charge && button(t("pause_plan"), () => pause(mine, move)), end].filter(Boolean);
}

const pause = (mine, move) => dialog(t("pause_plan"), (close) => [form([
  h("p", {}, t("pause_text", { at: day(mine.until) })), choice("days", t("pause_for"), [30, 60, 90].map((n) => [n, t("days", { n })]), 30),
], t("pause_plan"), async ({ days }) => { await move("pause", { days: Number(days) })(); close(true); }, { class: "form bare" }),
h("button", { class: "button quiet", onclick: () => close(false) }, t("cancel"))]);

function methodsSection({ methods, subscription: mine }) {
  const line = (one) => {
    const renews = mine?.method_id === one.method_id;
    const drop = async () => {
      if (!await confirmed(t("remove_method"), t(renews ? "remove_method_renews" : "remove_method_text", { label: one.label }), t("remove"))) return;
      await remove(`/api/billing/methods/${one.method_id}`);
      again();
    };
    return h("li", {}, h("span", {}, one.label, renews && h("span", { class: "hint" }, ` · ${t("renews_by_it")}`)), h("span", { class: "buttons" },
      mine && !renews && button(t("renew_by_it"), async () => { await put(`${moves}/method`, { method_id: one.method_id }); again(); }), button(t("remove"), drop)));
  };
  return section(t("methods"), methods.length ? h("ul", { class: "lines" }, methods.map(line)) : h("p", { class: "hint" }, t("methods_none")));
}

function invoicesSection(page) {
  const list = h("ul", { class: "lines" });
  const add = ({ items }) => list.append(...items.map((one) => h("li", {}, h("span", {}, one.name || one.number, " ", h("span", { class: "facts" },
    `· ${day(one.issued_at)} · ${one.purpose === "credit" ? `${t("credit_note")} ` : ""}${one.total.text}${one.state === "open" ? ` · ${t("unpaid")}` : ""}`)),
  h("span", { class: "buttons" }, h("a", { href: `${one.html}?language=${language}`, target: "_blank", rel: "noopener" }, t("view")),
    h("a", { href: `${one.pdf}?language=${language}`, download: `${one.number}.pdf` }, "PDF")))));
  add(page);
  let cursor = page.cursor;
  const more = button(t("more"), async () => {
    const following = await get("/api/billing/invoices", { cursor });
    add(following);
    cursor = following.cursor;
    more.hidden = !cursor;
  });
  more.hidden = !cursor;
  return section(t("invoices"), page.items.length ? list : h("p", { class: "hint" }, t("invoices_none")), more);
}

/** After the provider's page: what became of it, and at once what it opened. */
export async function paid(id) {
  const box = h("div", { class: "form", role: "status", "aria-live": "polite" });
  if (id === "now") {
    box.replaceChildren(...thanks(null));
    return { nodes: [box] };
  }
  const address = `/api/billing/payments/${encodeURIComponent(id)}`;
  let payment = await get(address), timer = null;
  const draw = () => box.replaceChildren(...(payment.state === "succeeded" ? thanks(payment) : payment.state === "failed" ? refused(payment) : waiting(payment)));
  const look = async () => {
    try {
      payment = await get(address);
    } catch (refusal) {
      if (refusal.status && refusal.status < 500 && refusal.status !== 429) throw refusal;
    }
    draw();
    if (!["succeeded", "failed"].includes(payment.state)) timer = setTimeout(look, 2000);
  };
  draw();
  return { nodes: [box], after: () => {
    if (!["succeeded", "failed"].includes(payment.state)) timer = setTimeout(look, 2000);
    return () => clearTimeout(timer);
  } };
}

function thanks(payment) {
  const wanted = payment?.title_id ?? sessionStorage.getItem("wanted");
  sessionStorage.removeItem("wanted");
  warn(null);
  return [h("h1", {}, t("paid")), h("p", {}, t(payment ? "paid_text" : "paid_free")), h("p", { class: "buttons" },
    wanted ? h("a", { class: "button play", href: `#/watch/${encodeURIComponent(wanted)}` }, t("play")) : h("a", { class: "button", href: "#/" }, t("watch_now")),
    h("a", { class: "button quiet", href: "#/billing" }, t("billing")))];
}

const waiting = (payment) => [h("h1", {}, t("payment_waiting")), h("p", {}, t("payment_waiting_text")),
  payment.checkout_url && h("p", {}, h("a", { class: "button", href: payment.checkout_url }, t("payment_go_on")))].filter(Boolean);

function refused(payment) {
  const once = payment.title_id ? { title: payment.title_id, kind: payment.purpose } : { price: payment.price_id };
  const anew = ["start", "purchase", "change"].includes(payment.reason) ? `#/checkout?${new URLSearchParams(once)}` : "#/billing";
  return [h("h1", {}, t("payment_failed")), h("p", { class: "refusal" }, t(`failure.${payment.failure}`) || t("failure.other")),
    h("p", { class: "buttons" }, h("a", { class: "button", href: anew }, t("try_again")), h("a", { class: "button quiet", href: "#/" }, t("home")))];
}

/** A word above every screen where a renewal was refused; nobody waits for it. */
export async function watchOverPayments() {
  if (!state.account || isGuarded()) return warn(null);
  const money = await call("GET", "/api/billing").catch(() => null);
  warn(money?.subscription?.state === "past_due" ? money.subscription : null);
}

function warn(mine) {
  const box = document.getElementById("banner");
  box.replaceChildren(...(mine ? [t("past_due_banner"), " ", h("a", { href: "#/billing" }, t("pay_now"))] : []));
  box.hidden = !mine;
}
