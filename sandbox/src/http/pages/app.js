// Keeps what is shown fresh, unless the person is doing something with it.
(() => {
  const busy = () =>
    document.hidden || String(getSelection()) !== "" ||
    /INPUT|TEXTAREA|SELECT/.test(document.activeElement?.tagName ?? "");
  const shut = (part) => part.innerHTML.replaceAll('<details open="">', "<details>");
  const differs = (one, other) => shut(one) !== shut(other);
  const refresh = async () => {
    const live = document.getElementById("live");
    if (!live || busy()) return;
    try {
      const answer = await fetch(location.href);
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (busy()) return;
      for (const part of ["#live", "nav", "header .meter"]) {
        const fresh = page.querySelector(part), old = document.querySelector(part);
        if (fresh && old && differs(fresh, old)) {
          const scroll = old.querySelector(".scroll")?.scrollTop ?? 0;
          const open = [...old.querySelectorAll("details")].map((d) => d.open);
          fresh.querySelectorAll("details").forEach((d, i) => (d.open = open[i] ?? false));
          old.replaceWith(fresh);
          const pane = fresh.querySelector(".scroll");
          if (pane) pane.scrollTop = scroll;
        }
      }
    } catch { /* the sandbox is restarting */ }
  };
  setInterval(refresh, 2000);
})();
