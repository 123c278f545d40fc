// Crystals are turned by buttons, and those that stand side by side are turned together.
"use strict";

(function () {
  function graphs(group) {
    return Array.from(group.querySelectorAll(".js-plotly-plot"));
  }

  function place(values) {
    return { x: values[0], y: values[1], z: values[2] };
  }

  function turn(graph, camera) {
    const scene = graph._fullLayout && graph._fullLayout.scene;
    if (!scene || JSON.stringify(scene.camera) === JSON.stringify(camera)) return;
    window.Plotly.relayout(graph, { "scene.camera": camera });
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest("button[data-eye]");
    if (!button) return;
    const values = button.dataset.eye.split(" ").map(Number);
    const camera = {
      eye: place(values.slice(0, 3)),
      up: place(values.slice(3)),
      center: { x: 0, y: 0, z: 0 },
      projection: { type: "orthographic" },
    };
    graphs(button.closest(".crystals")).forEach(function (graph) { turn(graph, camera); });
  });

  // A crystal that was turned by hand turns those beside it when it is let go.
  document.addEventListener("pointerup", function (event) {
    const graph = event.target.closest && event.target.closest(".crystals .js-plotly-plot");
    if (!graph) return;
    window.setTimeout(function () {
      const camera = graph._fullLayout.scene.camera;
      graphs(graph.closest(".crystals")).forEach(function (other) {
        if (other !== graph) turn(other, camera);
      });
    }, 100);
  });
})();

// A click on a point of the latent map opens its candidate.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.pictures = {
  open_point: function (clicked) {
    const point = clicked && clicked.points && clicked.points[0];
    if (!point || typeof point.customdata !== "string") return window.dash_clientside.no_update;
    return "/candidate/" + encodeURIComponent(point.customdata);
  },
};
