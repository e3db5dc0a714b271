// Keyboard shortcuts of a thread under review: j and k for the next and previous answer, 1 to 9 for the labels.
(() => {
  const answers = [...document.querySelectorAll("[data-answer]")];
  const linked = () => answers.findIndex((one) => `#${one.id}` === location.hash);
  let at = Math.max(linked(), -1);

  const show = (position) => {
    if (position < 0 || position >= answers.length) return;
    answers.forEach((one, index) => one.classList.toggle("current", index === position));
    at = position;
  };
  const go = (position) => {
    if (position < 0 || position >= answers.length) return;
    show(position);
    const folded = answers[at].closest("details.removed");
    if (folded) folded.open = true;
    answers[at].focus({ preventScroll: true });
    answers[at].scrollIntoView({ block: "start", behavior: "smooth" });
  };

  show(at);
  if (at < 0 && answers.length === 1) show(0);
  addEventListener("hashchange", () => show(linked()));
  answers.forEach((one, index) => one.addEventListener("focusin", () => show(index)));

  addEventListener("keydown", (event) => {
    const typing = event.target.closest("textarea, select, input:not([type=radio]):not([type=checkbox])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") go(at + 1);
    else if (event.key === "k") go(at - 1);
    else if (/^[1-9]$/.test(event.key) && answers[at]) {
      const judge = answers[at].querySelector("details.judge");
      const label = judge.querySelectorAll("input[name=label]")[Number(event.key) - 1];
      if (!label) return;
      judge.open = true;
      label.checked = true;
      label.focus({ preventScroll: true });
      judge.scrollIntoView({ block: "nearest" });
    } else return;
    event.preventDefault();
  });
})();
