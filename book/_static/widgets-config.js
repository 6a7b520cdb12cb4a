// Where RequireJS finds the widget manager, and a bridge from the MathJax 2 call that it makes to MathJax 3.
// Without `paths` the manager would look for its icon fonts beside the page.
(() => {
  const folder = new URL("vendor/widgets/", document.currentScript.src).href;
  const names = ["base", "controls", "output", "html-manager"];
  const paths = Object.fromEntries(names.map((name) => [`@jupyter-widgets/${name}`, folder + name]));
  paths["@jupyter-widgets/html-manager/dist"] = folder.slice(0, -1);
  window.requirejs.config({ paths });
  const typeset = (element) =>
    window.MathJax?.startup?.promise?.then(() => window.MathJax.typesetPromise([element])).catch(console.error);
  const hub = { Queue: (...calls) => calls.forEach((call) => Array.isArray(call) && typeset(call[2])) };
  // MathJax replaces the global object when it arrives; at `load` it has, and the manager reads it only after.
  window.addEventListener("load", () => {
    window.MathJax = Object.assign(window.MathJax || {}, { Hub: hub });
  });
})();
