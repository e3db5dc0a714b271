// The thread on the page: its name in the tab's title, its address after the first question, and the heading of a thread
// that someone shared.
import { ask, make, root, texts, threadAt } from "./server.js";

const product = document.title;
const sideBar = () => document.querySelector("#thread-history");

let shown = null;
let name = "";
// Whether an answer is done that the reader has not seen, because the tab was behind.
let isDone = false;

const showTitle = () => {
  const item = document.getElementById(`thread-${threadAt("thread")}`);
  const words = item?.querySelector(".truncate")?.textContent || name;
  const title = `${isDone ? "✓ " : ""}${words ? `${words} – ` : ""}${product}`;
  if (document.title !== title) document.title = title;
};

/** Mark the tab's title, or take the mark off. */
export const markTitle = (done) => {
  isDone = done;
  showTitle();
};

const when = (moment) => new Date(moment).toLocaleString(navigator.language, { dateStyle: "medium", timeStyle: "short" });

const sharedHeading = async (heading) => {
  const { texts: words } = await texts();
  const key = `shared_by${heading.is_own ? "_you" : ""}${heading.shared_at ? "_at" : ""}`;
  const who = (words[key] ?? "")
    .replace("{owner}", () => heading.owner ?? "")
    .replace("{when}", () => (heading.shared_at ? when(heading.shared_at) : ""));
  const button = make("button", "", (heading.is_own ? words.open_own : words.continue) ?? "");
  const problem = make("p", "threadkeeper-problem");
  problem.setAttribute("role", "status");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { id } = heading.is_own ? heading : await ask("POST", `page/threads/${heading.id}/copy`, {});
      location.assign(new URL(`thread/${id}`, root));
    } catch {
      problem.textContent = words.copy_failed ?? "";
      button.disabled = false;
    }
  });
  const facts = make("p", "", who, make("span", "threadkeeper-badge", words.read_only ?? ""));
  const about = make("div", "", make("h1", "", heading.name || words.shared_title || ""), facts, problem);
  const section = make("section", "", about, button);
  section.id = "shared-thread";
  return section;
};

/** Show the heading above the shared thread; repeat it when Chainlit re-renders that part. */
const keepHeading = async (heading) => {
  const section = await sharedHeading(heading);
  const place = () => {
    if (threadAt("share") !== heading.id) {
      observer.disconnect();
      section.remove();
      return;
    }
    const header = document.querySelector("#header");
    if (header && !section.isConnected) header.after(section);
  };
  // A shared thread is not written while it is shown, so this is quiet.
  const observer = new MutationObserver(place);
  observer.observe(document.getElementById("root") ?? document.body, { childList: true, subtree: true });
  place();
};

const readHeading = async () => {
  const id = threadAt("thread") || threadAt("share");
  if (shown === location.pathname) return;
  shown = location.pathname;
  dispatchEvent(new Event("threadkeeper-moved"));
  name = "";
  showTitle();
  if (!id) return;
  const path = shown;
  const heading = await ask("GET", `page/threads/${id}`).catch(() => null);
  if (!heading || shown !== path) return;
  name = heading.name ?? "";
  showTitle();
  if (threadAt("share")) await keepHeading(heading);
};

/** Open a thread as a link of Chainlit's page does, without loading the page again. */
export const openThread = (id) => {
  const state = { usr: null, key: Math.random().toString(36).slice(2, 10), idx: (history.state?.idx ?? 0) + 1 };
  history.pushState(state, "", new URL(`thread/${id}`, root));
  dispatchEvent(new PopStateEvent("popstate", { state }));
};

/** Go to the thread's address as Chainlit's own code would. On a phone it does so only when the side bar is opened, and
 * below a path of its own (CHAINLIT_ROOT_PATH) never. */
const goTo = (id) => {
  const isHome = [root.pathname, root.pathname.replace(/\/$/, "")].includes(location.pathname);
  if (!isHome || (root.pathname === "/" && sideBar())) return;
  openThread(id);
};

const hear = (event) => {
  const told = event.source === window && event.data?.threadkeeper;
  if (!told) return;
  // After Chainlit's code has taken in the events before this one.
  setTimeout(() => {
    goTo(told.thread);
    if (told.thread !== threadAt("thread") || !told.name) return;
    name = told.name;
    showTitle();
  }, 50);
};

export const watchThread = () => {
  addEventListener("message", hear);
  addEventListener("popstate", () => readHeading());
  for (const way of ["pushState", "replaceState"]) {
    const go = history[way].bind(history);
    history[way] = (...given) => {
      go(...given);
      readHeading();
    };
  }
  // The side bar's list changes when a thread is added, renamed or opened, and not while an answer is written.
  let watched = null;
  const list = new MutationObserver(showTitle);
  const find = () => {
    const current = sideBar();
    if (current === watched) return;
    watched = current;
    list.disconnect();
    if (current) list.observe(current, { childList: true, subtree: true, characterData: true });
    showTitle();
  };
  setInterval(find, 1000);
  readHeading();
};
