// Lines over time, drawn by uPlot, with the same numbers as a table for who cannot see or wants to copy them.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { at, compact, moments, number, onDate, onDay } from "./words";

export interface Line {
  name: string;
  tone: 1 | 2 | 3 | 4 | 5;
  values: (number | null)[];
  filled?: boolean;
  /** Where two lines are one, both are seen: the later one has gaps, or the earlier one is wider. */
  drawn?: { width?: number; dash?: number[] };
}
const COLOURS = ["--accent", "--chart-2", "--chart-3", "--bad", "--warn"];
const HEIGHT = 190;
const DAY_SECONDS = 86_400;
/** Between the middles of two labels of the axis below. */
const LABEL = 76;
/** Beside the last, of which half stands out. */
const BESIDE = 30;

/** Days lie as far apart as they are; runs, which come in bursts, lie side by side, and what differs is counted from zero. */
export function Chart({ label, times, lines, by }: { label: string; times: number[]; lines: Line[]; by: "day" | "run" }) {
  const box = useRef<HTMLDivElement>(null);
  const [dark, setDark] = useState(false);
  const isByRun = by === "run";
  const data = useMemo<uPlot.AlignedData>(() => [times.map((time, place) => (isByRun ? place : time / 1000)), ...lines.map((line) => line.values)], [times, lines]);
  const when = (place: number): string => (isByRun ? at(new Date(times[place]!).toISOString()) : onDate(times[place]!));

  useEffect(() => {
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setDark(scheme.matches);
    changed();
    scheme.addEventListener("change", changed);
    return () => scheme.removeEventListener("change", changed);
  }, []);

  useEffect(() => {
    const holder = box.current!;
    // a colour that stands in a custom property is only worked out where it is used
    const colour = (name: string): string => {
      holder.style.color = `var(${name})`;
      const worked = getComputedStyle(holder).color;
      holder.style.color = "";
      return worked;
    };
    const [dim, grid, card] = ["--dim", "--line", "--card"].map(colour);
    const font = `12px ${getComputedStyle(document.documentElement).fontFamily}`;
    const axis = { stroke: dim!, font, ticks: { show: false }, grid: { stroke: grid!, width: 1 } };
    const plot = new uPlot(
      {
        width: Math.max(200, holder.clientWidth),
        height: HEIGHT,
        padding: [8, BESIDE, 0, 0],
        cursor: { points: { size: 7, fill: card! }, drag: { x: false, y: false }, y: false },
        legend: { show: false },
        scales: {
          // a single one stands in the middle
          x: { time: false, range: (_, low, high) => (low < high ? [low, high] : [low - DAY_SECONDS, low + DAY_SECONDS]) },
          y: { range: (_, low, high) => span(low, high, isByRun) },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: isByRun ? 46 : 32,
            gap: 7,
            splits: (of) => spread(of.data[0], of.bbox.width / devicePixelRatio),
            values: (_, ticks) => (isByRun ? moments(ticks.map((place) => times[place]!)) : ticks.map((tick) => onDay(tick * 1000))),
          },
          { ...axis, size: 46, space: 28, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? compact(tick) : "")) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.name,
            stroke: colour(COLOURS[line.tone - 1]!),
            ...(line.filled ? { fill: faint(colour(COLOURS[line.tone - 1]!)) } : {}),
            width: line.drawn?.width ?? 2,
            ...(line.drawn?.dash ? { dash: line.drawn.dash } : {}),
            spanGaps: true,
            points: { show: isByRun || times.length < 2, size: 5, fill: card! },
          })),
        ],
        hooks: { setCursor: [(of) => setPointed(of.cursor.idx ?? null)] },
      },
      data,
      holder,
    );
    const watcher = new ResizeObserver(() => plot.setSize({ width: Math.max(200, holder.clientWidth), height: HEIGHT }));
    watcher.observe(holder);
    return () => {
      watcher.disconnect();
      plot.destroy();
    };
  }, [data, dark]);

  const [pointed, setPointed] = useState<number | null>(null);
  const last = times.length - 1;
  const shown = pointed ?? last;
  return (
    <figure>
      <ul class="legend" aria-hidden="true">
        {lines.map((line) => (
          <li key={line.name}>
            <i class={`tone-${line.tone}`} />
            {line.name} <b>{line.values[shown] == null ? "–" : number(line.values[shown]!)}</b>
          </li>
        ))}
        {pointed !== null && <li>{when(shown)}</li>}
      </ul>
      <div ref={box} class="chart" role="img" aria-label={`${label}. ${lines.map((line) => `${line.name}: ${line.values[last] == null ? "not counted" : number(line.values[last]!)} at the end`).join("; ")}. The table that follows has every number.`} />
      <details>
        <summary>As a table</summary>
        <div class="scroll" role="region" aria-label={`${label}, as a table`} tabIndex={0}>
          <table>
            <caption class="hidden">{label}</caption>
            <thead>
              <tr>
                <th scope="col">When</th>
                {lines.map((line) => (
                  <th scope="col" class="n" key={line.name}>
                    {line.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {times.map((_, from) => {
                const row = last - from;
                return (
                  <tr key={row}>
                    <th scope="row" class="when">
                      {when(row)}
                    </th>
                    {lines.map((line) => (
                      <td class="n" key={line.name}>
                        {line.values[row] == null ? "–" : number(line.values[row]!)}
                      </td>
                    ))}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

/** The same colour, as one sees the ground through it. */
const faint = (colour: string): string => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.09)");

/** Which of the places on the axis below have a label: as many as there is room for, from the newest on. */
function spread(places: ArrayLike<number>, width: number): number[] {
  const all = Array.from(places);
  const last = all[all.length - 1] ?? 0;
  const room = (LABEL * (last - (all[0] ?? 0))) / Math.max(1, width);
  const found: number[] = [];
  for (const place of all.toReversed()) if (found.length === 0 || found[0]! - place >= room) found.unshift(place);
  return found;
}

/** Differences are counted from zero; of what is stored the movement is seen, which from zero would be a flat line. */
function span(low: number | null, high: number | null, fromZero: boolean): [number, number] {
  const least = low ?? 0;
  const most = high ?? 1;
  if (fromZero) return [0, Math.max(4, most * 1.15)];
  const room = Math.max((most - least) * 0.25, most * 0.02, 2);
  return [Math.max(0, Math.floor(least - room)), Math.ceil(most + room)];
}
