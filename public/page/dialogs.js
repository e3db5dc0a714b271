// Dialogs: the button names its act, and every dialog has a name for screen readers.
import { texts } from "./server.js";

const opened = [];

/** Call `act` with each dialog that Chainlit's page opens, at the moment in which it is put into the page. */
export const onDialog = (act) => opened.push(act);

/** Replace the words of an element. Chainlit's own text node stays, so that its code can go on with it. */
export const rename = (element, words) => {
  const walker = document.createTreeWalker(element ?? document.createElement("i"), NodeFilter.SHOW_TEXT);
  const text = walker.nextNode();
  if (text && words && text.data !== words) text.data = words;
};

const lastButton = (dialog) => [...dialog.querySelectorAll("button")].filter((one) => !one.querySelector(".sr-only")).at(-1);

const nameTheAct = async (dialog) => {
  const { texts: words } = await texts();
  if (dialog.matches("#chat-settings")) rename(dialog.querySelector("#confirm"), words.act_save);
  else if (dialog.querySelector("#confirm")) rename(dialog.querySelector("#confirm"), words.act_start);
  else if (dialog.querySelector("input#name")) rename(lastButton(dialog), words.act_rename);
  else if (dialog.matches("[role=alertdialog]")) rename(lastButton(dialog), words.act_delete);
};

const warn = (dialog) => dialog.matches("[role=alertdialog]") && lastButton(dialog)?.classList.add("threadkeeper-deletes");

/** Give a dialog without a title one that is only read aloud, and let it not refer to a description that is not there. */
const describe = (dialog) => {
  const title = dialog.getAttribute("aria-labelledby");
  if (title && !dialog.querySelector(`[id="${title}"]`)) {
    const heading = document.createElement("h2");
    heading.id = title;
    heading.className = "sr-only";
    heading.textContent = "…";
    dialog.prepend(heading);
    texts().then(({ texts: words }) => (heading.textContent = words.side_bar ?? "Threads"));
  }
  const description = dialog.getAttribute("aria-describedby");
  if (description && !dialog.querySelector(`[id="${description}"]`)) dialog.removeAttribute("aria-describedby");
};

/** Rename the button of a question that is being edited. */
export const nameTheEdit = async (question) => rename(question.querySelector(".confirm-edit"), (await texts()).texts.act_send);

export const watchDialogs = () => {
  onDialog(describe);
  onDialog(warn);
  onDialog(nameTheAct);
  // Chainlit's dialogs are appended to the body. An observer would come too late: a dialog checks its title as soon as
  // it is there.
  const append = document.body.appendChild.bind(document.body);
  document.body.appendChild = (node) => {
    if (node instanceof HTMLElement && node.matches("[role=dialog], [role=alertdialog]")) {
      for (const act of opened) {
        try {
          Promise.resolve(act(node)).catch((error) => console.error("Threadkeeper's page script:", error));
        } catch (error) {
          console.error("Threadkeeper's page script:", error);
        }
      }
    }
    return append(node);
  };
};
