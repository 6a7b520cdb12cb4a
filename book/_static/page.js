// What the theme and the widget manager leave out: names of the sliders' controls for readers who do not see them, and
// the light colors on paper, whatever the screen shows.
(() => {
  const label = (element, name) => element.getAttribute("aria-label") || element.setAttribute("aria-label", name);
  const name = () => {
    document.querySelectorAll(".widget-play button").forEach((button) => {
      const icon = button.querySelector("i")?.className || "";
      label(button, icon.includes("stop") ? "Stop" : icon.includes("repeat") ? "Repeat" : "Play or pause");
    });
    document.querySelectorAll(".jupyter-widgets .noUi-handle").forEach((handle) => {
      const text = handle.closest(".jupyter-widgets").querySelector(".widget-label")?.textContent.trim();
      label(handle, text || "Slider");
    });
  };
  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) return;
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });

  let screen = null;
  window.matchMedia("print").addEventListener("change", ({ matches }) => {
    const data = document.documentElement.dataset;
    if (matches) screen = data.theme;
    data.theme = matches ? "light" : screen;
  });
})();
