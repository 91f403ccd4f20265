//! `RESULTS.svg`: bars of CPU per request, as ratios to nginx.

use std::fmt::Write as _;

use crate::Results;

const LEFT: f64 = 330.0;
const WIDTH: f64 = 460.0;
const BAR: f64 = 13.0;
/// The ratio at the right edge. Longer bars end there.
const MOST: f64 = 1.6;
/// The colours of HAProxy, hyper, this proxy, and this proxy built with a profile.
const COLOURS: [&str; 4] = ["#9aa5b1", "#dd9a5b", "#2b6cb0", "#63b3ed"];

/// The plot. `None` if every ratio is too noisy.
pub(crate) fn svg(results: &Results) -> Option<String> {
    let names = &results.names[1..];
    let mut bars = String::new();
    let mut y = 56.0;
    let mut any = false;
    for measured in &results.rows {
        let middle = y + BAR * names.len() as f64 / 2.0 + 4.0;
        writeln!(
            bars,
            r#"<text x="{}" y="{middle}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            measured.row.name
        )
        .unwrap();
        for (index, name) in names.iter().enumerate() {
            let text = y + BAR - 3.0;
            match measured.cpu(index + 1).value() {
                None => writeln!(bars, r##"<text x="{}" y="{text}" class="s">too noisy</text>"##, LEFT + 4.0)
                    .unwrap(),
                Some(value) => {
                    any = true;
                    let width = value.min(MOST) / MOST * WIDTH;
                    writeln!(
                        bars,
                        r#"<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{}" fill="{}"><title>{name}</title></rect><text x="{:.1}" y="{text}" class="s">{value:.2}</text>"#,
                        BAR - 2.0,
                        COLOURS[index % COLOURS.len()],
                        LEFT + width + 4.0
                    )
                    .unwrap();
                }
            }
            y += BAR;
        }
        y += 9.0;
    }
    let mut legend = String::new();
    let mut x = LEFT;
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        writeln!(legend, r#"<rect x="{x}" y="30" width="11" height="11" fill="{colour}"/><text x="{}" y="40">{name}</text>"#, x + 16.0)
            .unwrap();
        x += 110.0;
    }
    let one = LEFT + WIDTH / MOST;
    any.then(|| {
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="850" height="{height}" font-family="sans-serif" font-size="12">
<style>.s{{font-size:10px}}</style><rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="20" font-weight="bold">CPU per request, ratio to nginx (shorter is better)</text>
{legend}{bars}<line x1="{one}" x2="{one}" y1="48" y2="{y}" stroke="#c53030" stroke-dasharray="4 3"/>
<text x="{one}" y="{label}" text-anchor="middle" class="s" fill="#c53030">nginx</text>
</svg>
"##,
            height = y + 20.0,
            label = y + 12.0
        )
    })
}
