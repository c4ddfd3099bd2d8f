/** Report pages: one file, no outside resources, light and dark. What is put in as text is escaped here. */
import { createHash } from 'node:crypto';
import { escapeXml } from './xml.js';

const style = `:root{color-scheme:light dark;--ink:light-dark(#1d2126,#e3e6ea);--soft:light-dark(#5c6570,#9aa4b0);--line:light-dark(#e2e5e9,#333941);--page:light-dark(#fff,#15181c);--box:light-dark(#f5f6f8,#1e2227);--curve:light-dark(#1f6fd0,#6aabff)}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--page)}
h1{font-size:1.45rem;line-height:1.25;margin:0 0 .3rem}h1+p{margin:0 0 1.2rem;color:var(--soft)}h2{font-size:1.15rem;margin:2.2rem 0 .8rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:.95rem;margin:1.2rem 0 .5rem;color:var(--soft)}table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;vertical-align:top}th{font-weight:400;color:var(--soft);white-space:nowrap}td{overflow-wrap:anywhere}
figure{margin:0;min-width:0}.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1rem}.curves figure{background:var(--box);border-radius:.4rem;padding:.6rem .7rem .3rem}
.curves figcaption{display:flex;justify-content:space-between;gap:1rem;font-size:.9rem}.curves b{font-variant-numeric:tabular-nums}svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.curve{fill:none;stroke:var(--curve);stroke-width:1.6;stroke-linejoin:round}.last{fill:var(--curve)}
.picture{margin-bottom:1.8rem}.picture>figcaption{margin-bottom:.4rem}.parts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(16rem,100%),1fr));gap:.6rem}.parts figcaption{font-size:.85rem;color:var(--soft)}
.parts img{display:block;width:100%;border-radius:.25rem;image-rendering:pixelated}.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.5rem 0 0;padding:0;list-style:none;font-size:.85rem}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:.15em}
summary{cursor:pointer;color:var(--soft)}pre{overflow:auto;background:var(--box);border-radius:.4rem;padding:.8rem;font-size:.85rem}`;

export interface HtmlPage {
  /** Plain text. */
  readonly title: string;
  /** HTML of the body. */
  readonly body: string;
  /** More rules, after those of all pages. */
  readonly style?: string;
  /** A script of our own; the page allows it by its hash and no other. */
  readonly script?: string;
}

/** A whole page that may load nothing and run nothing but what stands in it. */
export function htmlPage({ title, body, style: more = '', script }: HtmlPage): string {
  const scripts =
    script === undefined ? '' : ` script-src 'sha256-${createHash('sha256').update(script).digest('base64')}';`;
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:;${scripts} base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="${policy}"><link rel="icon" href="data:,"><title>${escapeText(title)}</title><style>${style}${more}</style></head><body>
${body}
${script === undefined ? '' : `<script>${script}</script>\n`}</body></html>
`;
}

/** As `escapeXml`; marks that turn the direction of the text behind them are replaced, as a name must not rewrite what follows it. */
export function escapeText(text: string): string {
  return escapeXml(text.replace(/[\u202a-\u202e\u2066-\u2069]/g, '\ufffd'));
}

/** Names and values, two columns of text. @param name class of the table */
export function pairTable(rows: readonly (readonly [string, string])[], name?: string): string {
  const start = name === undefined ? '<table>' : `<table class="${name}">`;
  return `${start}${rows.map(([name, value]) => `<tr><th scope="row">${escapeText(name)}</th><td>${escapeText(value)}</td></tr>`).join('')}</table>`;
}

export interface PagePicture {
  /** Plain text above the parts. */
  readonly title: string;
  readonly parts: readonly { readonly title: string; readonly bytes: Uint8Array; readonly type?: string }[];
  readonly legend: readonly { readonly name: string; readonly colour: readonly [number, number, number] }[];
}

/** Pictures of one scene side by side, with the names of their colours below. */
export function pictureFigure({ title, parts, legend }: PagePicture): string {
  const images = parts.map(
    ({ title: part, bytes, type = 'image/png' }) =>
      `<figure><img alt="${escapeText(`${title}: ${part}`)}" src="data:${type};base64,${Buffer.from(bytes).toString('base64')}"><figcaption>${escapeText(part)}</figcaption></figure>`,
  );
  const entries = legend.map(
    ({ name, colour }) => `<li><i style="background:rgb(${colour.join()})"></i>${escapeText(name)}</li>`,
  );
  return `<figure class="picture"><figcaption>${escapeText(title)}</figcaption><div class="parts">${images.join('')}</div><ul class="legend">${entries.join('')}</ul></figure>`;
}

/** Absolute paths cut to their last part: a report is passed on. */
export function withoutPaths(text: string): string {
  return text.replace(/(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\\/"\n]*[\\/])+/g, '.../');
}

/** `2 h 5 min`, `3 min 4 s`, `8.2 s`. */
export function durationText(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${seconds.toFixed(1)} s`;
}
