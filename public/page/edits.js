// Editing a question: says what it takes away.
import { nameTheEdit } from "./dialogs.js";
import { counted, make, texts } from "./server.js";

const MESSAGES = '[data-step-type="user_message"], [data-step-type="assistant_message"]';

const explain = async (question) => {
  const box = question.querySelector("#edit-chat-input");
  if (!box || question.querySelector(".threadkeeper-note")) return;
  await nameTheEdit(question);
  const messages = [...document.querySelectorAll(MESSAGES)];
  const count = messages.length - 1 - messages.indexOf(question);
  const words = counted(await texts(), "edit_takes", count);
  if (!box.isConnected || !words) return;
  const note = make("p", "threadkeeper-note", words);
  box.after(note);
  // Chainlit's code uses the element around the box again for the question.
  const observer = new MutationObserver(() => {
    if (box.isConnected) return;
    note.remove();
    observer.disconnect();
  });
  observer.observe(box.parentElement, { childList: true });
};

export const watchEdits = () => {
  addEventListener(
    "click",
    (event) => {
      const pencil = event.target instanceof Element ? event.target.closest(".edit-message") : null;
      const question = pencil?.closest('[data-step-type="user_message"]');
      // After Chainlit's own reaction, which replaces the pencil by the box.
      if (question) setTimeout(() => explain(question));
    },
    true,
  );
};
