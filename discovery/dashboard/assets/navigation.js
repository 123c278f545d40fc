// What a browser does by itself when a page opens: its title, and the focus on its heading.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.discovery = {
  // Twice pressed is once off, once on.
  pause: function (presses) {
    const off = presses % 2 === 1;
    return [off, off ? "Refresh again" : "Stop refreshing"];
  },
  arrive: function (title) {
    if (!title) return;
    const first = !window.discoveryArrived;
    window.discoveryArrived = true;
    document.title = title;
    if (first) return; // the browser begins at the top of a page that it loaded
    window.requestAnimationFrame(function () {
      const heading = document.getElementById("heading");
      if (heading) heading.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    });
  },
};
