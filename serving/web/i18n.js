// Words in the languages of the page. Titles and synopses come from the catalogue in their own languages.

const WORDS = {
  en: {
    login: "Log in", register: "Create account", logout: "Log out", email: "E-mail", password: "Password",
    password_hint: "8 characters at least", country: "Country (two letters, optional)", home: "Home",
    catalogue: "All titles", search: "Search titles", play: "Play", resume: "Resume from {at}", again: "Play again",
    episodes: "Episodes", extras: "Extras", season: "Season {n}", similar: "More like this", back: "Back", next: "Next episode",
    the_end: "The end", profile: "Profile", who: "Who is watching?", add_profile: "Add profile", name: "Name",
    limit: "Fit for age", language: "Language", all: "All", more: "Show more", nothing: "Nothing found.",
    welcome: "Films for an evening in", welcome_text: "Log in to watch. Until then, look around.",
    have_account: "I have an account", no_account: "I am new here", loading: "One moment…",
    close: "Close player", sound: "Sound", skip_intro: "Skip intro", people: "People", minutes: "{n} min", seconds: "{n} s", not_playable_badge: "Not here yet",
    degraded: "Recommendations will get personal as you watch.",
    press_play: "Press play to start", skip: "Skip to content", add: "Add", switch_language: "Русский",
    "reason.continue": "Go on watching", "reason.new": "New in the catalogue", "reason.popular_now": "Popular now",
    "reason.trending": "On the rise", "reason.because_you_watched": "Because you watched {title}",
    "reason.picked": "Picked for you", "reason.similar": "Similar", "reason.same_genre": "Of the same genre",
    "reason.for_you": "Picked for you", "reason.similar_content": "Like {title}",
    "refusal.unauthenticated": "Log in to watch this.", "refusal.maturity": "This profile is not old enough for it.",
    "refusal.region": "Not offered in your region.", "refusal.no_offer": "Not on offer at the moment.",
    "refusal.not_playable": "There is no film for this title yet.", "refusal.unknown_title": "There is no such title.",
    "error.wrong_credentials": "The e-mail or the password is wrong.",
    "error.email_taken": "This e-mail has an account already.",
    "error.invalid_request": "Something in the form does not fit.",
    "error.too_many_profiles": "There is no room for another profile.",
    "error.network": "The server does not answer. Try again in a moment.",
    "error.key_refused": "This film may not be played here any more. Ask to watch it again.",
    "error.playback": "The film cannot be played here.", "error.other": "That did not work: {detail}",
  },
  ru: {
    login: "Войти", register: "Создать аккаунт", logout: "Выйти", email: "Эл. почта", password: "Пароль",
    password_hint: "не меньше 8 знаков", country: "Страна (две буквы, необязательно)", home: "Главная",
    catalogue: "Все фильмы", search: "Поиск по названию", play: "Смотреть", resume: "Продолжить с {at}",
    again: "Смотреть снова", episodes: "Серии", extras: "Дополнительно", season: "Сезон {n}", similar: "Похожее", back: "Назад",
    next: "Следующая серия", the_end: "Конец", profile: "Профиль", who: "Кто смотрит?", add_profile: "Новый профиль",
    name: "Имя", limit: "Подходит с возраста", language: "Язык", all: "Все", more: "Показать ещё",
    nothing: "Ничего не нашлось.", welcome: "Кино на вечер", welcome_text: "Чтобы смотреть, войдите. А пока осмотритесь.",
    have_account: "У меня есть аккаунт", no_account: "Я здесь впервые", loading: "Минуту…",
    close: "Закрыть плеер", sound: "Звук", skip_intro: "Пропустить заставку", people: "Люди", minutes: "{n} мин", seconds: "{n} с", not_playable_badge: "Скоро",
    degraded: "Чем больше вы смотрите, тем точнее советы.",
    press_play: "Нажмите, чтобы начать", skip: "К содержанию", add: "Добавить", switch_language: "English",
    "reason.continue": "Досмотреть", "reason.new": "Новое в каталоге", "reason.popular_now": "Сейчас популярно",
    "reason.trending": "Набирает популярность", "reason.because_you_watched": "Вы смотрели «{title}»",
    "reason.picked": "Подобрано для вас", "reason.similar": "Похожее", "reason.same_genre": "Того же жанра",
    "reason.for_you": "Подобрано для вас", "reason.similar_content": "Похоже на «{title}»",
    "refusal.unauthenticated": "Войдите, чтобы смотреть.", "refusal.maturity": "Профиль не подходит по возрасту.",
    "refusal.region": "Недоступно в вашем регионе.", "refusal.no_offer": "Сейчас недоступно.",
    "refusal.not_playable": "Фильма пока нет.", "refusal.unknown_title": "Такого названия нет.",
    "error.wrong_credentials": "Неверная почта или пароль.", "error.email_taken": "С этой почтой уже есть аккаунт.",
    "error.invalid_request": "Что-то в форме не так.", "error.too_many_profiles": "Больше профилей не добавить.",
    "error.network": "Сервер не отвечает. Попробуйте ещё раз.",
    "error.key_refused": "Этот фильм здесь больше не открывается. Запустите его снова.",
    "error.playback": "Этот фильм здесь не воспроизводится.", "error.other": "Не получилось: {detail}",
  },
};

export let language = localStorage.getItem("language") || (navigator.language.startsWith("ru") ? "ru" : "en");

export function setLanguage(value) {
  language = WORDS[value] ? value : "en";
  localStorage.setItem("language", language);
  document.documentElement.lang = language;
}

/** The words for a key; `{name}` is filled in from `params`. An unknown key has no words. */
export function t(key, params = {}) {
  const words = WORDS[language][key] ?? "";
  return words.replace(/\{(\w+)\}/g, (_, name) => params[name] ?? "");
}

/** A text of the catalogue in the language of the page, or in whichever it has. */
export function local(texts) {
  return texts?.[language] ?? texts?.en ?? Object.values(texts ?? {})[0] ?? "";
}

export function clock(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}
