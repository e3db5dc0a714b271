// Names and roles that Chainlit's page lacks, for people who hear the page or use the keyboard. Only attributes are set,
// and one heading is added beside Chainlit's own part of the page. Class names and icons of Chainlit 2.12.
import { texts } from "./server.js";

// The first selector that fits decides. The keys are those of `texts()`.
const NAMES = [
  ["#sidebar-trigger-button", "name_side_bar"],
  ["#search-chats-button", "name_search"],
  ["#new-chat-button", "act_start"],
  ["#chat-profiles", "name_assistant"],
  ["#upload-button", "name_attach"],
  ["#chat-settings-open-modal", "name_settings"],
  ["#chat-submit", "act_send"],
  ["#stop-button", "name_stop"],
  ["#thread-options", "name_thread_options"],
  ["#message-composer button:has(> .lucide-star)", "name_favorites"],
  ["#header button:has(> .lucide-share-2)", "name_share"],
  [".edit-message", "name_edit"],
  [".positive-feedback-off, .positive-feedback-on", "name_good"],
  [".negative-feedback-off, .negative-feedback-on", "name_bad"],
  ["button:has(> .lucide-message-circle)", "name_comment"],
  ["button:has(> .lucide-star)", "name_favorite"],
  ["button:has(> :is(.lucide-copy, .lucide-check))", "name_copy"],
  ["button:has(> :is(.lucide-eye, .lucide-eye-off))", "name_password"],
  ["button:has(> .lucide-arrow-down)", "name_newest"],
  ["button:has(> .lucide-arrow-left)", "name_back"],
  ["button:has(> .lucide-x)", "name_remove"],
];
// English words in the code of Chainlit's page, by what stands in their place.
const ENGLISH = new Map([
  ["Toggle Sidebar", "name_side_bar"],
  ["Toggle theme", "name_theme"],
  ["Close", "name_close"],
  ["Close lightbox", "name_close"],
  ["Close toast", "name_close"],
  ["Open PDF in a larger view", "name_larger"],
]);
const NAMED = NAMES.map(([selector]) => selector).join(", ");
// How long changes are gathered: an answer that is being written changes the page many times a second.
const GATHERED_MS = 300;

const set = (element, name, value) => element.getAttribute(name) === value || element.setAttribute(name, value);

/** Whether an element has a name of its own. A chosen option is the value of a combobox, not its name. */
const isNamed = (element) =>
  element.hasAttribute("aria-label") ||
  (element.getAttribute("role") !== "combobox" && element.id !== "thread-options" && element.textContent.trim() !== "");

const complete = (words) => {
  for (const element of document.querySelectorAll(NAMED)) {
    const key = isNamed(element) ? null : NAMES.find(([selector]) => element.matches(selector))[1];
    if (key && words[key]) element.setAttribute("aria-label", words[key]);
  }
  for (const one of document.querySelectorAll("[aria-label], [title], button:has(> .sr-only)")) {
    const given = one.getAttribute("aria-label") || one.title || one.querySelector(":scope > .sr-only")?.textContent;
    const name = words[ENGLISH.get(given)];
    if (!name) continue;
    set(one, "aria-label", name);
    if (one.title) set(one, "title", name);
  }
  for (const one of document.querySelectorAll("div#thread-options, #upload-button")) set(one, "role", "button");
  // A link within a button: the link is what one reaches and hears.
  for (const one of document.querySelectorAll("#header button:has(> a)")) {
    set(one, "role", "group");
    set(one, "tabindex", "-1");
    set(one, "aria-label", one.textContent.trim() || one.querySelector("img")?.alt || "");
  }
  // A list whose only child is no member of it.
  for (const one of document.querySelectorAll("ul[data-sidebar=menu]:has(> div)")) set(one, "role", "none");
  // What scrolls can be scrolled with the keyboard.
  for (const one of document.querySelectorAll("pre > code:not([tabindex])")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  }
};

/** The page's heading: the thread's title, for people who go from heading to heading. */
const watchHeading = () => {
  const heading = document.createElement("h1");
  heading.className = "sr-only";
  const follow = () => {
    const title = document.title.replace(/ – Threadkeeper$/, "");
    if (heading.textContent !== title) heading.textContent = title;
  };
  follow();
  document.body.prepend(heading);
  new MutationObserver(follow).observe(document.head, { childList: true, subtree: true, characterData: true });
};

export const watchNames = async () => {
  watchHeading();
  const { texts: words } = await texts();
  let waiting = null;
  const later = () => {
    waiting ??= setTimeout(() => {
      waiting = null;
      complete(words);
    }, GATHERED_MS);
  };
  complete(words);
  new MutationObserver(later).observe(document.body, { childList: true, subtree: true });
};
