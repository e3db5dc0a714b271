// The download of a receipt that is too long for a data: URL. Without scripts, the receipt stays folded on the page.
(() => {
  const receipt = document.getElementById("receipt");
  const link = document.querySelector("a[download]");
  const text = receipt.querySelector("pre").textContent;
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.hidden = false;
  receipt.remove();
})();
