// Votes: a click on a thumb counts at once. The comment and the reasons are optional, and stand in Chainlit's dialog.
import { onDialog, rename } from "./dialogs.js";
import { ask, make, texts } from "./server.js";

const THUMBS = ".positive-feedback-off, .negative-feedback-off";
const CHOSEN = ".positive-feedback-on, .negative-feedback-on";
const TOAST = "[data-sonner-toast]";

/** The vote whose dialog is open: its value, and the request that stores it. */
let vote = null;

const begin = (thumb) => {
  const answer = thumb.closest('[id^="step-"]')?.id.slice("step-".length);
  if (!answer) return;
  const value = thumb.matches(".positive-feedback-off") ? 1 : 0;
  vote = { value, dialog: null, stored: ask("PUT", "page/vote", { answer, value }) };
  // Whether it failed is asked when it matters: Chainlit's page sends the vote again when the dialog is closed.
  vote.stored.catch(() => {});
};

/** A click on the thumb of a vote removes the vote. Chainlit's page says "Saved" then, as for a new vote. */
const sayRemoved = () => {
  const before = new Set(document.querySelectorAll(TOAST));
  const observer = new MutationObserver(async () => {
    const toast = [...document.querySelectorAll(TOAST)].find((one) => !before.has(one) && one.dataset.type !== "loading");
    if (!toast) return;
    observer.disconnect();
    if (toast.dataset.type === "success") rename(toast.querySelector("[data-title]"), (await texts()).texts.vote_removed);
  });
  observer.observe(document.body, { attributeFilter: ["data-type"], childList: true, subtree: true });
};

const reasonButtons = (reasons, words, chosen) => {
  const problem = make("p", "threadkeeper-problem");
  problem.setAttribute("role", "status");
  let last = chosen.stored;
  const buttons = reasons.map(([id, label]) => {
    const button = make("button", "threadkeeper-reason", label);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      const picked = reasons.filter((_, at) => buttons[at].getAttribute("aria-pressed") === "true").map(([one]) => one);
      // One after the other, so that the last choice is the one that stays.
      last = last
        .catch(() => chosen.stored)
        .then(async () => {
          const { step } = await chosen.stored;
          await ask("PUT", "page/reasons", { step, reasons: picked });
          problem.textContent = "";
        });
      last.catch(() => (problem.textContent = words.reasons_failed ?? ""));
    });
    return button;
  });
  const group = make("div", "threadkeeper-reasons", make("p", "", words.reasons ?? ""), ...buttons, problem);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", words.reasons ?? "");
  return group;
};

const complete = async (dialog) => {
  const submit = dialog.querySelector("#submit-feedback");
  if (!submit || !vote) return;
  const current = vote;
  current.dialog = dialog;
  const { texts: words, reasons } = await texts();
  const note = make("p", "threadkeeper-note");
  note.setAttribute("role", "status");
  const box = dialog.querySelector("textarea");
  box?.before(note);
  if (current.value === 0 && reasons.length) box?.before(reasonButtons(reasons, words, current));
  current.stored.then(
    () => (note.textContent = words.vote_counts ?? ""),
    () => (note.textContent = words.vote_failed ?? ""),
  );
};

/** Close the dialog with the vote and without a comment. Only its button "Send" sends the comment. */
const close = (event) => {
  const { dialog } = vote;
  event.preventDefault();
  event.stopImmediatePropagation();
  const box = dialog.querySelector("textarea");
  // React listens to changes of the value by its setter, which a plain assignment would pass by.
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, "");
  box.dispatchEvent(new Event("input", { bubbles: true }));
  dialog.querySelector("#submit-feedback").click();
};

const isOpen = () => Boolean(vote?.dialog?.isConnected && vote.dialog.dataset.state !== "closed");

export const watchVotes = () => {
  onDialog(complete);
  addEventListener(
    "click",
    (event) => {
      const thumb = event.target instanceof Element ? event.target.closest(THUMBS) : null;
      if (thumb && !thumb.disabled) {
        begin(thumb);
      } else if (event.target instanceof Element && event.target.closest(CHOSEN)) {
        sayRemoved();
      } else if (isOpen() && event.target.closest("#submit-feedback")) {
        const { stored } = vote;
        vote = null;
        // Chainlit's request has the comment, so it must be the later one.
        const button = event.target.closest("#submit-feedback");
        event.stopImmediatePropagation();
        stored.catch(() => {}).then(() => button.click());
      } else if (isOpen() && event.target.closest("button")?.querySelector(".sr-only") && vote.dialog.contains(event.target)) {
        close(event);
      }
    },
    true,
  );
  addEventListener("keydown", (event) => event.key === "Escape" && !event.isComposing && isOpen() && close(event), true);
  addEventListener(
    "pointerdown",
    (event) => isOpen() && !vote.dialog.contains(event.target) && close(event),
    true,
  );
};
