// Mouse, pen and fingers on the map: move, zoom, point at a cell, draw a region.
// One decision: all are pointer events; a second finger makes any gesture a zoom.

import { rectangle, thinned } from "./region.js";

const CLICK = 5; // pixels that a click may wander
const LINE_STEP = 3; // pixels between corners of a line drawn by hand

export function handlePointer(map, signal) {
  const { over, view } = map;
  const fingers = new Map();
  let gesture = null; // {kind, at: [px, py] of its begin, moved}

  const place = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const listen = (kind, listener, options = {}) => over.addEventListener(kind, listener, { signal, ...options });

  listen("pointerdown", (event) => {
    if (event.button !== 0) return;
    over.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    if (fingers.size === 2) {
      gesture = { kind: "pinch", ...spread(fingers) };
      map.line = null;
      return;
    }
    const kind = event.shiftKey && map.tool === "move" ? "lasso" : map.tool;
    const at = place(event);
    gesture = { kind, at, last: at, moved: false };
    if (kind !== "move") map.line = [view.toPlane(...at)];
    map.tell("hover", { row: null });
  });

  listen("pointermove", (event) => {
    const now = place(event);
    if (!gesture) {
      if (event.pointerType !== "touch") hover(now);
      return;
    }
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, now);
    if (gesture.kind === "pinch") return pinch();
    gesture.moved ||= Math.hypot(now[0] - gesture.at[0], now[1] - gesture.at[1]) > CLICK;
    if (!gesture.moved) return;
    if (gesture.kind === "move") {
      view.pan(now[0] - gesture.last[0], now[1] - gesture.last[1]);
      gesture.last = now;
      over.classList.add("moving");
      map.draw();
      return;
    }
    if (gesture.kind === "lasso") map.line.push(view.toPlane(...now));
    else map.line = rectangle(view.toPlane(...gesture.at), view.toPlane(...now));
    map.drawOver();
  });

  const end = (event) => {
    fingers.delete(event.pointerId);
    const ended = gesture;
    if (!ended || fingers.size) return;
    gesture = null;
    over.classList.remove("moving");
    const { line } = map;
    map.line = null;
    if (event.type === "pointercancel" || ended.kind === "pinch") return map.drawOver();
    if (!ended.moved) {
      const [px, py] = ended.at;
      const row = map.rowAt(px, py, event.pointerType === "touch" ? 14 : 6);
      if (row === null) map.tell("clear");
      else map.tell("cell", { row });
    } else if (line) {
      map.take(thinned(line, LINE_STEP / view.scale), ended.kind === "lasso" ? "in the lasso" : "in the rectangle");
    }
    map.drawOver();
  };
  listen("pointerup", end);
  listen("pointercancel", end);
  listen("pointerleave", () => gesture || map.tell("hover", { row: null }));
  listen("dblclick", (event) => map.zoom(event.shiftKey ? 0.5 : 2, ...place(event)));
  listen(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
      const step = Math.max(-240, Math.min(240, event.deltaY * lines));
      map.zoom(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.002)), ...place(event));
    },
    { passive: false },
  );

  let pending = 0;
  function hover(at) {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => {
      const row = map.rowAt(...at);
      over.classList.toggle("over-cell", row !== null);
      map.tell("hover", { row, px: at[0], py: at[1] });
    });
  }

  function pinch() {
    const now = spread(fingers);
    view.pan(now.middle[0] - gesture.middle[0], now.middle[1] - gesture.middle[1]);
    view.zoom(now.apart / gesture.apart, ...now.middle);
    gesture = { kind: "pinch", ...now };
    map.draw();
  }
}

function spread(fingers) {
  const [[ax, ay], [bx, by]] = [...fingers.values()];
  return { apart: Math.max(1, Math.hypot(ax - bx, ay - by)), middle: [(ax + bx) / 2, (ay + by) / 2] };
}
