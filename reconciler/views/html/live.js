// Shows a newer look as soon as there is one; while somebody writes into a field, it only says so.
const main = document.querySelector("main[data-live]");
const news = document.querySelector("#news");
if (main && news) {
  const busy = () => [...document.querySelectorAll("input")].some((field) => field.type !== "hidden" && field.value !== "");
  const show = async () => {
    if (busy()) {
      news.textContent = "There is a newer look: load the page again.";
      return;
    }
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const open = new Set([...main.querySelectorAll("details[open]")].map((fold) => fold.id));
    const focused = document.activeElement ? document.activeElement.id : "";
    if (!found || busy()) return;
    main.replaceChildren(...found.childNodes);
    for (const fold of main.querySelectorAll("details[id]")) fold.open = open.has(fold.id);
    offerFilter();
    if (focused) document.getElementById(focused)?.focus();
    news.textContent = "";
  };
  const source = new EventSource("/v1/events");
  source.onmessage = (event) => {
    if (JSON.parse(event.data).type === "looked") show();
  };
}
