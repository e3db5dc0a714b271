// Above the side bar's list: the pinned threads, a filter by folder, and the way to the page of all threads. In the menu
// of a thread: pin and archive.
import { onDialog } from "./dialogs.js";
import { openHelp } from "./help.js";
import { ask, make, root, texts, threadAt } from "./server.js";
import { openThread } from "./thread.js";

const CHOSEN = "threadkeeper-folder";
let section = null;
// The newest request; the answers to those before it are not shown.
let asked = 0;
let pinned = new Set();
// Says in the menu of a thread that is open whether the thread is pinned: the server may tell it after the menu opened.
let tellPinned = () => {};
// When it was last asked, in milliseconds, and the names of the threads that the server told since.
let askedAt = 0;
let waiting = null;
const told = new Map();
const QUIET = 10_000;

/** Close Chainlit's menu or dialog that is open, as a click beside it does. */
const close = () => document.body.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));

const link = (thread, words) => {
  const made = make("a", "threadkeeper-own", thread.name || words.thread_untitled || "");
  made.href = new URL(`thread/${thread.id}`, root).href;
  made.dataset.thread = thread.id;
  made.addEventListener("click", (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    openThread(thread.id);
    // On a phone, the side bar is a dialog, which lies above the thread.
    if (made.closest("[role=dialog]")) close();
  });
  return make("li", "", made);
};

const listOf = (label, threads, words) => [
  make("h2", "threadkeeper-label", label),
  make("ul", "", ...threads.map((one) => link(one, words))),
];

const markCurrent = () => {
  const current = threadAt("thread");
  for (const one of section?.querySelectorAll(".threadkeeper-own") ?? []) {
    if (one.dataset.thread === current) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
};

const folderChoice = (folders, chosen, words) => {
  const select = make("select", "", new Option(words.folder_all ?? "", ""));
  select.setAttribute("aria-label", words.folder ?? "");
  for (const { tag, threads } of folders) select.add(new Option(`${tag} (${threads})`, tag));
  // A folder whose last thread left it stays chosen until the reader chooses another.
  if (chosen && !folders.some(({ tag }) => tag === chosen)) select.add(new Option(chosen, chosen));
  select.value = chosen;
  select.addEventListener("change", () => {
    sessionStorage.setItem(CHOSEN, select.value);
    refresh();
  });
  return select;
};

const refresh = async () => {
  const number = ++asked;
  askedAt = Date.now();
  clearTimeout(waiting);
  waiting = null;
  const chosen = sessionStorage.getItem(CHOSEN) ?? "";
  const [{ texts: words }, bar] = await Promise.all([
    texts(),
    ask("GET", `page/side-bar?${new URLSearchParams({ tag: chosen })}`),
  ]);
  if (number !== asked || !section) return;
  pinned = new Set(bar.pinned.map(({ id }) => id));
  tellPinned();
  const address = new URL("me/threads", root);
  const all = make("a", "threadkeeper-all", words.all_threads ?? "");
  all.href = address.href;
  const help = make("button", "threadkeeper-help", "?");
  help.type = "button";
  help.title = words.keys ?? "";
  help.setAttribute("aria-label", words.keys ?? "");
  help.addEventListener("click", () => {
    // On a phone, the side bar is a dialog, which would take the focus back.
    if (help.closest("[role=dialog]")) close();
    openHelp();
  });
  const parts = [make("div", "threadkeeper-bar", all, help)];
  if (bar.folders.length || chosen) parts[0].prepend(folderChoice(bar.folders, chosen, words));
  if (bar.pinned.length) parts.push(...listOf(words.pinned ?? "", bar.pinned, words));
  if (chosen) {
    parts.push(...listOf(chosen, bar.inside, words));
    if (!bar.inside.length) parts.push(make("p", "threadkeeper-note", words.folder_empty ?? ""));
    if (bar.is_more) {
      address.searchParams.set("tag", chosen);
      const more = make("a", "threadkeeper-all", words.folder_more ?? "");
      more.href = address.href;
      parts.push(more);
    }
  }
  const hadFocus = section.contains(document.activeElement) ? document.activeElement.tagName : "";
  section.toggleAttribute("data-folder", Boolean(chosen));
  section.setAttribute("aria-label", words.own_threads ?? "");
  section.replaceChildren(...parts);
  if (hadFocus === "SELECT") section.querySelector("select")?.focus();
  markCurrent();
};

const show = () => refresh().catch((error) => console.warn("Threadkeeper's page script:", error));

/** Another tab may have changed something: ask at once, but not again within a few seconds. */
const showSoon = () => {
  waiting ??= setTimeout(show, Math.max(0, askedAt + QUIET - Date.now()));
};

/** The server tells the name of a thread: a new thread can be in a folder, and a pinned one can have another name. */
const hear = ({ thread, name }) => {
  if (told.get(thread) === name) return;
  told.set(thread, name);
  show();
};

const place = () => {
  const content = document.querySelector('[data-sidebar="content"]:has(#thread-history)');
  if (!content || content.contains(section)) return;
  section = make("section", "");
  section.id = "own-threads";
  content.prepend(section);
  show();
};

/** Add an act to the menu of a thread. The menu's own code does not know it, so the keys are handled here. */
const addActs = async (menu) => {
  const last = menu.querySelector("#delete-thread");
  const item = document.querySelector('#thread-history [data-state="open"]')?.closest("li");
  const id = item?.id.replace(/^thread-/, "");
  if (!last || !id || menu.querySelector("#pin-thread")) return;
  const { texts: words } = await texts();
  const act = (name, label, marks) => {
    const made = make("div", menu.querySelector("[role=menuitem]").className, label ?? "");
    made.id = name;
    made.tabIndex = -1;
    made.setAttribute("role", "menuitem");
    const run = async (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (!marks) {
        location.assign(new URL(`me/threads/${id}/fork`, root));
        return;
      }
      // As the menu said when it was chosen.
      const changed = marks();
      close();
      try {
        await ask("PUT", `page/threads/${id}/marks`, changed);
      } catch {
        section?.querySelector(".threadkeeper-problem")?.remove();
        const problem = make("p", "threadkeeper-problem", words.marks_failed ?? "");
        problem.setAttribute("role", "alert");
        section?.append(problem);
        return;
      }
      // Chainlit's list leaves it out when it is read again.
      if (changed.is_archived) item.hidden = true;
      show();
    };
    made.addEventListener("click", run);
    made.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && run(event));
    made.addEventListener("pointermove", () => made.focus({ preventScroll: true }));
    last.before(made);
    return made;
  };
  const pin = act("pin-thread", words.pin, () => ({ is_pinned: !pinned.has(id) }));
  tellPinned = () => (pin.textContent = (pinned.has(id) ? words.unpin : words.pin) ?? "");
  tellPinned();
  act("archive-thread", words.archive, () => ({ is_archived: true }));
  act("fork-thread", words.fork, null);
  menu.addEventListener(
    "keydown",
    (event) => {
      const items = [...menu.querySelectorAll("[role=menuitem]")];
      const at = items.indexOf(document.activeElement);
      const to = { ArrowDown: Math.min(at + 1, items.length - 1), ArrowUp: Math.max(at - 1, 0) }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      items[to].focus();
    },
    true,
  );
};

export const watchFolders = () => {
  // On a phone, each opening of the side bar makes a new one.
  onDialog(() => setTimeout(place));
  setInterval(place, 1000);
  place();
  new MutationObserver((changes) => {
    for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
      const menu = node instanceof HTMLElement && node.querySelector("[role=menu]:has(#delete-thread)");
      if (menu) addActs(menu);
    }
  }).observe(document.body, { childList: true });
  addEventListener("threadkeeper-moved", markCurrent);
  // Another tab, or another page of ours, may have changed them.
  document.addEventListener("visibilitychange", () => section && !document.hidden && showSoon());
  addEventListener("message", ({ source, data }) => {
    if (source === window && data?.threadkeeper && section) hear(data.threadkeeper);
  });
};
