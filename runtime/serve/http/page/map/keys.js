// The map by keyboard: walk from cell to cell and from group to group, zoom, move, take a rectangle.
// One decision: every step is said in words, so the map can be used without seeing it.

import { nearestPoint, nextPoint, rectangle } from "./region.js";

const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STEP = 8; // pixels that one step of walking goes at least
const SHIFT = 60; // pixels that one step of moving goes

export function handleKeys(map, signal) {
  const { over, view, points } = map;
  let group = -1;

  over.addEventListener("focus", () => map.drawOver(), { signal });
  over.addEventListener("blur", () => map.drawOver(), { signal });
  over.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !points.count) return;
      if (!act(event)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { signal },
  );

  function act(event) {
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) {
      view.pan(-arrow[0] * SHIFT, arrow[1] * SHIFT);
      map.draw();
      return true;
    }
    if (arrow) return walk(arrow);
    switch (event.key) {
      case "+":
      case "=":
        return zoom(1.5);
      case "-":
        return zoom(1 / 1.5);
      case "0":
        map.fit();
        return true;
      case "PageDown":
        return toGroup(1);
      case "PageUp":
        return toGroup(-1);
      case "Enter":
        if (map.focused === null) return walk([0, 0]);
        map.tell("cell", { row: points.rows[map.focused], byKey: true });
        return true;
      case " ":
        return corner();
      case "Escape":
        if (map.corner !== null) map.corner = map.line = null;
        else map.tell("clear");
        map.drawOver();
        return true;
      default:
        return false;
    }
  }

  function zoom(factor) {
    const around = map.focused === null ? [] : view.toPixels(points.x[map.focused], points.y[map.focused]);
    map.zoom(factor, ...around);
    return true;
  }

  function walk(arrow) {
    const { mask } = map.look;
    let next = null;
    if (map.focused === null) next = nearestPoint(points, view.x, view.y, mask);
    else next = nextPoint(points, map.focused, arrow, { mask, least: STEP / view.scale }) ?? map.focused;
    if (next === null) return false;
    focus(next);
    map.tell("at", { row: points.rows[next] });
    return true;
  }

  function focus(point) {
    map.focused = point;
    if (map.corner !== null) {
      map.line = rectangle([points.x[map.corner], points.y[map.corner]], [points.x[point], points.y[point]]);
    }
    if (view.reveal(points.x[point], points.y[point])) map.draw();
    else map.drawOver();
  }

  function toGroup(step) {
    const { labels } = map;
    if (!labels.length) return false;
    group = (group + step + labels.length) % labels.length;
    const point = map.pointAt(labels[group].row);
    if (point !== null) focus(point);
    map.tell("group", { code: labels[group].code });
    return true;
  }

  function corner() {
    if (map.focused === null) return walk([0, 0]);
    if (map.corner === null) {
      map.corner = map.focused;
      map.tell("say", { words: "Corner set. Walk to the opposite corner and press Space again." });
    } else {
      const polygon = widened(map.line ?? [], 1e-6 + 0.5 / view.scale);
      map.corner = map.line = null;
      map.take(polygon, "in the rectangle");
    }
    map.drawOver();
    return true;
  }
}

/** A rectangle that holds its own corners. */
function widened(line, by) {
  if (!line.length) return line;
  const [xs, ys] = [line.map(([x]) => x), line.map(([, y]) => y)];
  return rectangle([Math.min(...xs) - by, Math.min(...ys) - by], [Math.max(...xs) + by, Math.max(...ys) + by]);
}
