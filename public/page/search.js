// Search in the side bar: titles and excerpts with the words marked, and how many texts the index lacks.
import { onDialog, rename } from "./dialogs.js";
import { ask, counted, make, texts } from "./server.js";

const ID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const SHOWN = "threadkeeper-found";

const marked = (parts) => parts.map((part) => (part.is_marked ? make("mark", "", part.text) : part.text));

/** "Nothing found" in place of Chainlit's "No threads yet", which it also shows in an empty side bar. */
const sayNothingFound = async (list) => rename(list.querySelector("[cmdk-empty]"), (await texts()).texts.search_nothing);

/** The months above the results as in the side bar: Chainlit puts the year behind the month in every language. */
const sayMonths = (list) => {
  for (const heading of list.querySelectorAll("[cmdk-group-heading]")) {
    const [, name, year] = /^(.+) (\d{4})$/.exec(heading.textContent) ?? [];
    const named = (month) => new Date(2000, month).toLocaleString("default", { month: "long" }) === name;
    const month = year ? [...Array(12).keys()].find(named) : undefined;
    if (month === undefined) continue;
    rename(heading, new Date(year, month).toLocaleString(navigator.language, { month: "long", year: "numeric" }));
  }
};

/** Above the results: how many texts the search cannot find yet; nothing if it is 0. */
const sayLeft = async (list, left) => {
  const found = await texts();
  const before = list.parentElement?.querySelector(":scope > .threadkeeper-note");
  const said = left ? counted(found, "search_left", left) : "";
  if ((before?.textContent ?? "") === said) return;
  before?.remove();
  if (!said) return;
  const note = make("p", "threadkeeper-note threadkeeper-left", said);
  note.setAttribute("role", "status");
  list.before(note);
};

const complete = (dialog) => {
  const input = dialog.querySelector("[cmdk-input]");
  const list = dialog.querySelector("[cmdk-list]");
  if (!input || !list) return;
  // What the server found for `knownWords`, by thread; null if nothing.
  const known = new Map();
  let knownWords = "";
  // Whether the server was asked for `knownWords`. Until it has answered, nothing is asked a second time.
  let isAsked = false;
  let waiting = 0;

  const show = async () => {
    sayMonths(list);
    const words = input.value.trim();
    if (!words) {
      await sayLeft(list, 0);
      return;
    }
    await sayNothingFound(list);
    if (knownWords !== words) {
      knownWords = words;
      known.clear();
      isAsked = false;
    }
    const items = [...list.querySelectorAll("[cmdk-item]")];
    const ids = items.map((item) => ID.exec(item.dataset.value ?? "")?.[0] ?? "");
    // The list shows the results of the words before, until it gets those of the new words.
    const unknown = ids.filter((id) => id && !known.has(id));
    // While Chainlit searches, the list has a spinner in the place of "Nothing found".
    const isNothing = Boolean(list.querySelector("[cmdk-empty]")?.textContent.trim());
    if (unknown.length || (isNothing && !isAsked)) {
      isAsked = true;
      for (const id of unknown) known.set(id, null);
      const query = new URLSearchParams({ words });
      for (const id of unknown) query.append("thread", id);
      let answer;
      try {
        answer = await ask("GET", `page/excerpts?${query}`);
      } catch (error) {
        if (knownWords === words) {
          isAsked = false;
          for (const id of unknown) known.delete(id);
        }
        throw error;
      }
      // Other words were typed meanwhile.
      if (knownWords !== words) return;
      for (const one of answer.found) known.set(one.thread_id, one);
      await sayLeft(list, answer.left);
      // The list may be another one by now.
      await show();
      return;
    }
    items.forEach((item, at) => {
      const one = known.get(ids[at]);
      const before = item.querySelector(`.${SHOWN}`);
      if (!one || !item.isConnected || before?.dataset.words === words) return;
      before?.remove();
      const lines = [make("div", "", ...marked(one.title))];
      if (one.text.length) lines.push(make("div", "threadkeeper-excerpt", ...marked(one.text)));
      const shown = make("div", SHOWN, ...lines);
      shown.dataset.words = words;
      item.append(shown);
    });
  };

  // Without an excerpt, Chainlit's title stays.
  new MutationObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => show().catch(() => {}), 30);
  }).observe(list, { childList: true, subtree: true });
};

export const watchSearch = () => onDialog(complete);
