// The charts of a page: drawn in the page's language over the rows that its filters leave.
(() => {
  const page = document.documentElement;
  const LANGUAGE = "matinee-report-language";
  // Vega keeps the last locale that it was given, so English is said as well.
  const ENGLISH = {
    dateTime: "%x, %X", date: "%-m/%-d/%Y", time: "%-I:%M:%S %p", periods: ["AM", "PM"],
    days: ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    shortDays: ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"],
    months: ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
    shortMonths: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
  };
  const RUSSIAN = {
    dateTime: "%A, %e %B %Y г. %X", date: "%d.%m.%Y", time: "%H:%M:%S", periods: ["", ""],
    days: ["воскресенье", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота"],
    shortDays: ["вс", "пн", "вт", "ср", "чт", "пт", "сб"],
    months: ["январь", "февраль", "март", "апрель", "май", "июнь", "июль", "август", "сентябрь", "октябрь", "ноябрь", "декабрь"],
    shortMonths: ["янв", "фев", "мар", "апр", "май", "июн", "июл", "авг", "сен", "окт", "ноя", "дек"],
  };
  const NUMBERS = {
    en: { decimal: ".", thousands: ",", grouping: [3], currency: ["", ""] },
    ru: { decimal: ",", thousands: "\u00a0", grouping: [3], currency: ["", ""] },
  };
  const ALL = { en: "all", ru: "все" };

  const charts = [...document.querySelectorAll("section > script[type='application/json']")].map((script) => ({
    into: script.parentElement.querySelector(".chart"),
    ...JSON.parse(script.textContent),
  }));
  const selects = [...document.querySelectorAll(".filters select")];
  const from = document.querySelector("[data-from]");
  const until = document.querySelector("[data-until]");

  const dayOf = (row) => row.day;

  function labelOf(row, field) {
    return field === "title_id" ? row[`title_${page.lang}`] : row[field];
  }

  function offer(select) {
    const field = select.dataset.field;
    const chosen = select.value;
    const options = new Map();
    for (const chart of charts) {
      if (chart.filters.includes(field)) for (const row of chart.rows) options.set(String(row[field]), labelOf(row, field));
    }
    const sorted = "one" in select.dataset ? [...options] : [...options].sort((a, b) => String(a[1]).localeCompare(b[1]));
    select.replaceChildren();
    if (!("one" in select.dataset)) select.append(new Option(ALL[page.lang], ""));
    for (const [value, label] of sorted) select.append(new Option(label, value));
    if (chosen && options.has(chosen)) select.value = chosen;
  }

  function kept(chart) {
    return chart.rows.filter((row) => {
      for (const select of selects) {
        const field = select.dataset.field;
        if (select.value && chart.filters.includes(field) && String(row[field]) !== select.value) return false;
      }
      const day = dayOf(row);
      if (!day) return true;
      return !(from?.value && day < from.value) && !(until?.value && day > until.value);
    });
  }

  async function draw() {
    for (const chart of charts) {
      const spec = { ...chart.specs[page.lang], datasets: { rows: kept(chart) } };
      await window.vegaEmbed(chart.into, spec, {
        renderer: "svg",
        actions: { export: true, source: false, compiled: false, editor: false },
        timeFormatLocale: page.lang === "ru" ? RUSSIAN : ENGLISH,
        formatLocale: NUMBERS[page.lang],
      });
    }
    page.dataset.drawn = page.lang;
  }

  function speak(language) {
    page.lang = language;
    localStorage.setItem(LANGUAGE, language);
    delete page.dataset.drawn;
    selects.forEach(offer);
    draw();
  }

  document.querySelector(".languages").onclick = (event) => event.target.value && speak(event.target.value);
  document.querySelector(".filters")?.addEventListener("change", draw);
  speak(localStorage.getItem(LANGUAGE) ?? (/^ru/.test(navigator.language) ? "ru" : "en"));
})();
