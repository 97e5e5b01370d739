// Shows the words of a cell beside the pointer, or where it was touched. The page reads without it.
(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("aria-hidden", "true");
  tip.hidden = true;
  document.body.appendChild(tip);
  document.documentElement.classList.add("scripted");

  function show(event) {
    var cell = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!cell) {
      tip.hidden = true;
      return;
    }
    tip.textContent = cell.getAttribute("data-tip");
    tip.hidden = false;
    var at = cell.getBoundingClientRect();
    var left = at.left + at.width / 2 - tip.offsetWidth / 2;
    var most = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(left, most)) + "px";
    var above = at.top - tip.offsetHeight - 8;
    tip.style.top = (above > 8 ? above : at.bottom + 8) + "px";
  }

  document.addEventListener("mouseover", show);
  document.addEventListener("click", show);
  document.addEventListener("scroll", function () { tip.hidden = true; }, true);
})();
