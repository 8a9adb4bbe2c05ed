// Choosing a plan, and the last look at what a plan, a change or a title costs before it is paid.

import { get, post, pressing } from "./api.js";
import { follow } from "./billing.js";
import { explain, h, notice } from "./dom.js";
import { choice, form } from "./forms.js";
import { day, local, t } from "./i18n.js";
import { isGuarded, named, profileId, state } from "./state.js";

const go = (hash) => { location.hash = hash; };

export async function plans(asked) {
  const opening = new Set((asked.get("plans") ?? "").split(",").filter(Boolean));
  if (asked.get("title")) sessionStorage.setItem("wanted", asked.get("title"));
  const [sold, money] = await Promise.all([get("/api/billing/plans"), state.account && !isGuarded() ? get("/api/billing") : null]);
  const mine = money?.subscription;
  const list = h("ul", { class: "plans" });
  const draw = (months) => list.replaceChildren(...sold.items.map((plan) => planCard(plan, months, mine, opening)).filter(Boolean));
  const intervals = [...new Set(sold.items.flatMap((plan) => plan.prices.map((price) => price.months)))].sort((a, b) => a - b);
  const chosen = (mine?.next_plan ?? mine?.plan)?.months;
  const first = intervals.includes(chosen) ? chosen : intervals[0];
  const picker = h("fieldset", { class: "intervals" }, h("legend", { class: "unseen" }, t("interval")), intervals.map((months) => h("label", { class: "chip" },
    h("input", { type: "radio", name: "months", value: months, class: "unseen", checked: months === first, onchange: () => draw(months) }), h("span", {}, t(`interval.${months}`)))));
  draw(first);
  return { nodes: [h("h1", {}, t("choose_plan")), trialWords(sold, mine), intervals.length > 1 && picker, list, h("p", { class: "hint" }, t("plans_text"))] };
}

function trialWords(sold, mine) {
  if (mine?.state === "trialing" && !mine.next_plan) return h("p", {}, t("trial_until", { at: day(mine.until) }));
  return !state.account && sold.trial_days > 0 && h("p", {}, t("trial_offer", { n: sold.trial_days }));
}

function planCard(plan, months, mine, opening) {
  const price = plan.prices.find((one) => one.months === months);
  if (!price) return null;
  const current = mine && (mine.next_plan ?? mine.plan).price_id === price.price_id && (mine.state !== "trialing" || Boolean(mine.next_plan));
  const opens = [plan.plan_id, ...plan.includes].some((id) => opening.has(id));
  const quality = plan.max_height ? t("up_to_height", { height: plan.max_height }) : t("any_height");
  const devices = plan.devices.length ? plan.devices.map((kind) => t(`device.${kind}`) || kind).join(", ") : t("any_device");
  const words = mine && (mine.state !== "trialing" || mine.next_plan) ? "change_to" : "choose";
  return h("li", { class: current ? "plan current" : "plan", "data-plan": plan.plan_id }, h("h2", {}, plan.name), opens && h("p", { class: "hint" }, t("opens_it")),
    h("p", { class: "price" }, price.amount.text, h("span", { class: "hint" }, ` ${t(`per.${months}`)}`)),
    months > 1 && h("p", { class: "hint" }, t("is_monthly", { price: price.monthly.text })),
    h("ul", { class: "facts" }, h("li", {}, t("streams_at_once", { n: plan.streams })), h("li", {}, quality), h("li", {}, devices)),
    current ? h("p", { class: "badge-line" }, t("your_plan")) : h("a", { class: "button", href: `#/checkout?price=${encodeURIComponent(price.price_id)}` }, t(words)));
}

/** The last look: what it is, what it costs, by what it is paid. */
export async function checkout(asked) {
  const wanted = asked.get("title") ? { title_id: asked.get("title"), kind: asked.get("kind") } : { price_id: asked.get("price") };
  const money = await get("/api/billing");
  const mine = money.subscription;
  const changing = Boolean(wanted.price_id && mine && (mine.state !== "trialing" || mine.next_plan));
  if (changing && !["active", "trialing"].includes(mine.state)) return go("#/billing") ?? { nodes: [] };
  const [title, seen] = await Promise.all([wanted.title_id ? get(`/api/media/${encodeURIComponent(wanted.title_id)}`, named()) : null, post("/api/billing/preview", wanted)]);
  const bill = h("div", { "aria-live": "polite" }), pay = h("div");
  const heading = title ? t(`checkout.${wanted.kind}`, { title: local(title.titles) }) : t(changing ? "checkout.change" : "checkout.plan");
  let promo = null;
  const look = async (typed) => draw(await post("/api/billing/preview", { ...wanted, ...(typed && { promo: typed }) }));
  const draw = (preview) => {
    bill.replaceChildren(...billOf(preview));
    pay.replaceChildren(payForm(preview, wanted, promo, money, changing, look), changing && mine.state === "active" && !mine.ends ? later(wanted) : "");
  };
  draw(seen);
  const code = form([h("label", {}, t("promo"), h("input", { name: "code", maxlength: 80, autocapitalize: "characters", autocomplete: "off", spellcheck: "false" }))], t("apply"), async (given) => {
    const typed = given.code.trim() || null;
    const before = promo;
    promo = typed;
    await look(typed).catch((refusal) => { promo = before; throw refusal; });
  }, { class: "form bare promo" });
  return { nodes: [h("div", { class: "form wide" }, h("h1", {}, heading), bill, !changing && code, pay, h("p", {}, h("a", { href: title ? `#/title/${encodeURIComponent(wanted.title_id)}` : "#/plans" }, t("back"))))] };
}

function billOf(preview) {
  const line = (name, amount, strong) => h("tr", {}, h("td", {}, strong ? h("strong", {}, name) : name), h("td", {}, strong ? h("strong", {}, amount.text) : amount.text));
  const { total, from_balance: balance, due, credit } = preview;
  const until = preview.until && (new Date(preview.since) > new Date(Date.now() + 60_000) ? t("lasts_from", { from: day(preview.since), until: day(preview.until) }) : t("lasts_until", { until: day(preview.until) }));
  return [h("table", { class: "bill" }, h("tbody", {}, preview.lines.map((one) => line(one.name || t(`line.${one.kind}`), one.amount)),
    balance.minor > 0 && [line(t("total"), total), line(t("from_balance"), balance)], line(t("to_pay"), due, true),
    credit.minor > 0 && line(t("to_balance"), credit))), until && h("p", { class: "hint" }, until)].filter(Boolean);
}

function payForm(preview, wanted, promo, money, changing, look) {
  const free = preview.due.minor === 0;
  const methods = !free && !changing && money.methods.length > 0 && choice("method", t("pay_by"), [...money.methods.map((one) => [one.method_id, one.label]), ["", t("other_method")]], money.methods[0].method_id);
  const path = changing ? "/api/billing/subscription/change" : wanted.price_id ? "/api/billing/checkout" : "/api/billing/purchase";
  const code = promo ? { promo } : {};
  const own = wanted.price_id ? { zone: Intl.DateTimeFormat().resolvedOptions().timeZone } : { ...(profileId() && { profile_id: profileId() }) };
  const words = changing && free ? t("change_now") : free ? t("start_free") : t("pay", { price: preview.due.text });
  const send = pressing(async (key, given) => {
    const how = changing ? { now: true } : { ...code, ...own, ...(given.method ? { method_id: given.method } : {}), ...(wanted.price_id ? {} : { save_method: Boolean(given.save) }) };
    try {
      follow(await post(path, { ...wanted, ...how, expected_minor: preview.due.minor }, { key }));
    } catch (refusal) {
      if (refusal.code !== "price_changed") throw refusal;
      await look(promo);
      notice(explain(refusal));
    }
  });
  const save = !free && !wanted.price_id && h("label", { class: "tick" }, h("input", { type: "checkbox", name: "save" }), t("save_method"));
  const renews = wanted.price_id && !changing && h("p", { class: "hint" }, t("renews_text"));
  return form([methods, save, renews], words, send, { class: "form bare" });
}

function later(wanted) {
  return form([], t("change_later"), pressing(async (key) => {
    await post("/api/billing/subscription/change", { ...wanted, now: false }, { key });
    go("#/billing");
  }), { class: "form bare second" });
}

