// Keys that an input method uses, such as the Enter that confirms a Chinese or Japanese candidate, are not for the page.
// Chromium and Firefox mark them with isComposing. Safari ends the composition first and then sends the key, marked with
// the code 229 alone: without this, Enter would send a half-written message, and Escape would close a dialog.
const INPUT_METHOD = 229;

export const watchKeyboard = () => {
  addEventListener(
    "keydown",
    (event) => {
      if (event.isComposing || event.keyCode === INPUT_METHOD) event.stopImmediatePropagation();
    },
    true,
  );
};
