// An answer is copied as the model wrote it: undoes what threadkeeper/formulas/page.py did to its dollars and formulas,
// and threadkeeper/citations.py to its citations.
const BESIDE = /\$\u2060\$/g;
const BLOCK = /^((?:[ \t>]|[-*+] |\d+[.)] )*)\$\$\$\n([\s\S]*?)\n[ \t>]*\$\$\$$/gm;
const DISPLAYED = /\$\$\$\\displaystyle ([\s\S]*?)\$\$\$/g;
const WITH_DOLLAR = /\$\$\$\$([\s\S]*?)\$\$\$\$/g;
const IN_LINE = /\$\$\$([\s\S]*?)\$\$\$/g;
const CITATION = /\[(\d+)\u2060\]/g;
const CODE = /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|`[^`]+`)/;

const undone = (text) =>
  text
    .replace(BESIDE, () => "$$")
    .replace(BLOCK, (_, before, tex) => `${before}\\[\n${tex}\n${before.replace(/[^>\s]/g, " ")}\\]`)
    .replace(DISPLAYED, (_, tex) => `\\[${tex}\\]`)
    .replace(WITH_DOLLAR, (_, tex) => `$${tex}$`)
    .replace(IN_LINE, (_, tex) => `\\(${tex}\\)`)
    .replaceAll("&#0036;", "$")
    .replace(CITATION, "[$1]");
const asWritten = (text) =>
  text
    .split(CODE)
    .map((part, number) => (number % 2 ? part : undone(part)))
    .join("");

export const watchCopying = () => {
  const { clipboard } = navigator;
  // Browsers have no clipboard for pages that are not served by HTTPS or from this machine.
  if (!clipboard) return;
  const writeText = clipboard.writeText.bind(clipboard);
  const write = clipboard.write?.bind(clipboard);
  clipboard.writeText = (text) => writeText(asWritten(text));
  if (!write) return;
  clipboard.write = (items) =>
    write(
      items.map((item) => {
        const types = item.types.map((type) => [
          type,
          type !== "text/plain"
            ? item.getType(type)
            : item.getType(type).then(async (blob) => new Blob([asWritten(await blob.text())], { type })),
        ]);
        return new ClipboardItem(Object.fromEntries(types));
      }),
    );
};
