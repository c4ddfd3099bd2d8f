/** Look and behaviour of the evaluation page beyond what all pages share. */

export const style = `:root{--heat:light-dark(#c4451c,#ff8a5c);--warn:light-dark(#fff4e0,#33280f);--warnline:light-dark(#e0a030,#a87a20);--seen:light-dark(#1f6fd0,#6aabff);--unseen:light-dark(#a04fc4,#d08cf0)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:0 0 1.2rem;padding:0;list-style:none}a{color:var(--curve)}.scroll{overflow:auto;max-width:100%}.scroll:focus-visible,button:focus-visible,input:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--curve);outline-offset:2px}
.figures td{font-variant-numeric:tabular-nums}.figures td.n,.figures th.n{text-align:right;white-space:nowrap}.figures tr.main td,.figures tr.main th{font-weight:600;color:var(--ink);font-size:1.1rem}.figures thead th{border-bottom:1px solid var(--line)}
.warn{background:var(--warn);border-left:.3rem solid var(--warnline);border-radius:.2rem;padding:.6rem .9rem;margin:0 0 1.2rem}.warn p{margin:.15rem 0}
.figures tbody td:not(.n):not(.bar),.figures tbody th{min-width:7.5rem}.figures td:has(.trust){white-space:nowrap}.trust{display:inline-block;border:1px solid var(--line);border-radius:.8rem;padding:0 .5rem;font-size:.8rem;color:var(--soft)}.soft{color:var(--soft)}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1.2rem;align-items:center;margin-bottom:.6rem}.tools input{font:inherit;color:inherit;background:var(--box);border:1px solid var(--line);border-radius:.3rem;padding:.25rem .5rem;min-width:0;width:14rem;max-width:100%}
.classes{max-height:36rem;border:1px solid var(--line);border-radius:.3rem}.classes table{width:100%}.classes th,.classes td{padding:.12rem .8rem .12rem .5rem}.classes thead th{position:sticky;top:0;background:var(--page);z-index:1;box-shadow:0 1px var(--line)}
.classes button{all:unset;cursor:pointer;color:var(--soft)}.classes button:focus-visible{outline:2px solid var(--curve)}.classes th[aria-sort=ascending] button::after{content:" ▲"}.classes th[aria-sort=descending] button::after{content:" ▼"}
.classes tbody th{color:var(--ink);white-space:normal;overflow-wrap:anywhere;max-width:16rem}.classes tbody th,.classes thead th:first-child{position:sticky;left:0;background:var(--page)}.classes thead th:first-child{z-index:2}.bar{width:40%;min-width:7rem}.bar i{display:block;height:.85rem;margin-top:.28rem;min-width:1px;border-radius:.15rem;background:var(--seen)}.bar i.unseen{background:var(--unseen)}
.heat th,.heat td{padding:.1rem;font-size:.78rem}.heat tbody th{text-align:right;padding-right:.5rem;max-width:11rem;overflow:hidden;text-overflow:ellipsis}.heat thead th{vertical-align:bottom;text-align:left}.heat thead span{display:block;writing-mode:vertical-rl;transform:rotate(180deg);max-height:9rem;overflow:hidden;text-overflow:ellipsis;margin:0 auto}
.heat td{width:2.5rem;min-width:2.2rem;height:1.7rem;text-align:center;vertical-align:middle;border:1px solid var(--page);background:color-mix(in srgb,var(--heat) calc(var(--v)*100%),var(--box))}.heat td.same{background:color-mix(in srgb,var(--curve) calc(var(--v)*60%),var(--box))}.heat td.full{color:light-dark(#fff,#15181c)}
.group{display:grid;grid-template-columns:minmax(0,1fr)}.parts{grid-template-columns:repeat(auto-fit,minmax(min(11rem,46%),1fr))}.stages .bar{width:50%}.figures.stages tbody th{min-width:5rem}.record td{font:.85rem/1.5 ui-monospace,monospace}
@media (max-width:36rem){.bar{min-width:4rem}.classes tbody th{max-width:9rem}body{margin:1rem auto;padding:0 .7rem}td,th{padding-right:.7rem}.record tr,.record td,.record th{display:block}.record th{padding-top:.4rem}}
@media print{.classes{max-height:none;overflow:visible}.tools,nav{display:none}}`;

/** Sorts and filters the table of classes; without it the page still shows everything. */
export const script = `(()=>{
const table=document.getElementById('per-class');if(!table)return;
const body=table.tBodies[0],heads=[...table.tHead.rows[0].cells],rows=[...body.rows];
const find=document.getElementById('find'),said=document.getElementById('found');
const key=(row,c)=>{const v=row.cells[c].dataset.v;return v===undefined?row.cells[c].textContent:v===''?null:Number(v)};
heads.forEach((head,c)=>head.querySelector('button')?.addEventListener('click',()=>{
const falling=head.getAttribute('aria-sort')!=='descending'&&(c>0||head.getAttribute('aria-sort')==='ascending');
heads.forEach((other)=>other.removeAttribute('aria-sort'));head.setAttribute('aria-sort',falling?'descending':'ascending');
const way=falling?-1:1;
rows.sort((a,b)=>{const x=key(a,c),y=key(b,c);if(x===null||y===null)return (x===null)-(y===null);return way*(typeof x==='string'?x.localeCompare(y):x-y)});
body.append(...rows)}));
find.addEventListener('input',()=>{const word=find.value.trim().toLowerCase();let shown=0;
for(const row of rows){row.hidden=word!==''&&!row.cells[0].textContent.toLowerCase().includes(word);shown+=row.hidden?0:1}
said.textContent=shown+' of '+rows.length+' classes'});
document.querySelector('.tools').hidden=false;
})();`;
