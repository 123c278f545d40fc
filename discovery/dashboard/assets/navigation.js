// What a browser does by itself when a page opens: its title, and where the keyboard goes on.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.discovery = {
  // Twice pressed is once off, once on.
  pause: function (presses) {
    const off = presses % 2 === 1;
    return [off, off ? "Refresh again" : "Stop refreshing"];
  },
  arrive: function (title) {
    if (!title) return;
    const before = window.discoveryPath;
    const path = window.location.pathname;
    window.discoveryPath = path;
    document.title = title;
    if (before === undefined) return; // the browser begins at the top of a page that it loaded
    window.requestAnimationFrame(function () {
      const focused = document.activeElement;
      if (before === path) {
        // The same page with another filter or order: on with what was found, if the place of the
        // keyboard was replaced.
        if (focused && focused !== document.body && focused.isConnected) return;
        const found = document.querySelector("#rows-status, [role=alert]");
        if (found) found.focus({ preventScroll: true });
        return;
      }
      const heading = document.getElementById("heading");
      if (heading) heading.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    });
  },
};
