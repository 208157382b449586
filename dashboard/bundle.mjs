// Makes the one file that the layer carries of what lies in src/: `make dashboard`. With --check it says whether that file is what it would make.
//
// One document with its script and its style in it: nothing to fetch, nothing to version apart, and two hashes are the whole policy.
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const PAGE = new URL("../layers/core/stocktake/dashboard.html", import.meta.url);
const here = (name) => readFileSync(new URL(name, import.meta.url), "utf8");

const made = await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: ["src/main.tsx"],
  bundle: true,
  write: false,
  outdir: "out",
  minify: true,
  charset: "utf8",
  target: ["chrome123", "firefox120", "safari17.5"],
  legalComments: "none",
  logLevel: "warning",
});
const made_of = (end) => made.outputFiles.find((file) => file.path.endsWith(end)).text.trim();
// inside of a document nothing may look like the end of its element
const script = made_of(".js").replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
const style = made_of(".css");

const names = Object.keys(JSON.parse(here("package.json")).dependencies);
const licences = names.map((name) => {
  const { version } = JSON.parse(here(`node_modules/${name}/package.json`));
  return `${name} ${version}\n\n${here(`node_modules/${name}/LICENSE`).trim()}`;
});
const page = here("src/page.html")
  .replace("LICENCES", () => licences.join("\n\n").replaceAll("--", "- -"))
  .replace("STYLE", () => style)
  .replace("SCRIPT", () => script);

if (process.argv.includes("--check")) {
  if (readFileSync(PAGE, "utf8") !== page) {
    console.error("layers/core/stocktake/dashboard.html is not what dashboard/ makes: make dashboard");
    process.exit(1);
  }
} else {
  writeFileSync(PAGE, page);
  console.log(`layers/core/stocktake/dashboard.html: ${Math.round(page.length / 1000)} kB`);
}
