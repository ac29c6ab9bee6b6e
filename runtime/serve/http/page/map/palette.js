// Colours of points, for a light and a dark page.
// One decision: each next colour is the one farthest from all before it, in OKLab, as people with normal vision and
// with each of the three kinds of colour blindness see it. The largest groups get the first colours. Forty are
// more than anyone can tell apart: that is what the labels on the map and the highlight of a group are for.

const GROUPS = {
  light:
    "2078b0 f0b050 780008 40c8f8 d84830 382888 a080f8 705068 c88080 a82000 28a8b8 5048b0 582858 a0c098 986870 f87800 b03890 8868d8 883840 f078d0 b0a058 504078 d0b0d0 608000 90a0f8 609860 6858c8 006000 d05890 905050 703858 b870d8 80a808 78d068 106890 3830a8 d09880 5878f0 807850 682038",
  dark:
    "60a8e8 c03018 f0f068 7050b8 e89840 00f8e8 a87898 a8c8a0 905068 8078e0 e86050 e0c800 40d0e8 c098b0 b8f0b0 007090 289848 90b080 d070c0 c06808 b03890 9060b8 f8a0d0 88e870 889870 78c870 786840 a86070 7060d8 5898c8 c0d8b0 9088f8 e088f8 b89000 d8e030 68b858 f8b0f8 d0b800 507000 688818",
};
// From doubtful to sure: amber to blue, which the colour-blind tell apart, through a grey.
const SCALE = { light: "e8a200 c79b4e 8d94a0 3f74b5 0c2f73", dark: "ffb22e d0a665 98a1ad 5b8fd6 3a62d8" };
const REST = { light: "8a8f94", dark: "8b9298" };
const NOTHING = { light: "c3c7ca", dark: "555b60" };

export const OWN_COLOURS = 40; // groups with a colour of their own
export const OTHER = 40; // code of all groups after them
export const LACKING = 41; // code of cells without a value
export const STEPS = 64; // of the scale; their codes are FIRST_STEP and on
export const FIRST_STEP = 64;

/** Colours of all codes of a point, as [red, green, blue] by code. */
export function palette(theme) {
  const colours = Array.from({ length: 256 }, () => [0, 0, 0]);
  GROUPS[theme].split(" ").forEach((hex, code) => (colours[code] = parts(hex)));
  colours[OTHER] = parts(REST[theme]);
  colours[LACKING] = parts(NOTHING[theme]);
  const stops = SCALE[theme].split(" ").map(parts);
  for (let step = 0; step < STEPS; step += 1) {
    const at = (step / (STEPS - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    colours[FIRST_STEP + step] = stops[low].map((value, k) => Math.round(value + (stops[low + 1][k] - value) * (at - low)));
  }
  return colours;
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

function parts(hex) {
  const value = parseInt(hex, 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
