//! What the drawings are made of: lanes, boxes with lines of text, arrows.
//!
//! The words are set in a fixed-width face: so their width is known without asking for a font, wherever the picture is looked at.

use maud::{Markup, PreEscaped, html};

use super::Diagram;
use super::text::cut;

/// The looks of a diagram, by light and by dark.
pub const STYLE: &str = include_str!("style.css");

/// What every diagram begins with: by it a file is known as one of ours.
pub const MARK: &str = "<svg class=\"diagram\"";

/// How wide a character is, in tenths of a pixel, at most; how high a line is.
const CHARACTER: i32 = 79;
pub(super) const LINE: i32 = 17;
/// Between the edge of a box and its words, and between two boxes.
pub(super) const PAD: i32 = 8;
/// What is left free around it all.
pub(super) const MARGIN: i32 = 14;
/// Where in a lane the line of its life is.
pub(super) const LIFE: i32 = 10;
/// After so much the names of the lanes are said again.
const SCREEN: i32 = 640;

/// A drawing that grows downwards.
pub(super) struct Canvas<'a> {
    diagram: &'a Diagram,
    /// How many characters have room in a line of a box.
    columns: usize,
    /// How wide a lane is.
    pub(super) width: i32,
    /// From one lane to the next.
    pitch: i32,
    /// Where the first lane begins.
    left: i32,
    /// How far it has come.
    pub(super) y: i32,
    names: i32,
    /// Where the names are said again: between two boxes, so here the drawing may be cut.
    cuts: Vec<i32>,
    lines: Vec<Markup>,
    boxes: Vec<(usize, Markup)>,
    arrows: Vec<Markup>,
    words: Vec<Word>,
}

/// A line of text.
pub(super) struct Word {
    x: i32,
    y: i32,
    pub(super) class: &'static str,
    text: String,
}

/// A box that is not yet closed.
pub(super) struct Frame {
    /// Its lane.
    pub(super) lane: usize,
    /// How many boxes are around it.
    pub(super) depth: usize,
    /// Where it begins.
    pub(super) y: i32,
    /// What kind of box it is.
    pub(super) class: String,
}

impl<'a> Canvas<'a> {
    /// Nothing but the names of the lanes, which have so much between them, and before the first.
    pub(super) fn new(diagram: &'a Diagram, gutter: i32, left: i32) -> Canvas<'a> {
        // Three lanes of whole sentences, or four narrow ones, have room side by side on most screens.
        let columns = if diagram.lanes.len() <= 3 { 40 } else { 32 };
        let width = columns as i32 * CHARACTER / 10 + 2 * PAD;
        let mut canvas = Canvas {
            diagram,
            columns,
            width,
            pitch: width + gutter,
            left: MARGIN + left,
            y: MARGIN,
            names: 0,
            cuts: Vec::new(),
            lines: Vec::new(),
            boxes: Vec::new(),
            arrows: Vec::new(),
            words: Vec::new(),
        };
        canvas.header("lane");
        canvas
    }

    fn header(&mut self, class: &'static str) {
        self.y += LINE;
        self.names = self.y;
        for (lane, name) in self.diagram.lanes.iter().enumerate() {
            let (x, y) = (self.x(lane), self.y);
            let end = cut(name, self.columns);
            let text = name[..end].to_string();
            self.words.push(Word { x, y, class, text });
        }
        self.y += PAD;
    }

    /// Says the names of the lanes again, if they are no longer in sight.
    pub(super) fn remind(&mut self) {
        if self.y - self.names > SCREEN {
            // Just below what ends here, above the words.
            self.cuts.push(self.y + 3);
            self.header("again");
        }
    }

    /// The left edge of a lane.
    pub(super) fn x(&self, lane: usize) -> i32 {
        self.left + lane as i32 * self.pitch
    }

    /// The right edge of everything.
    pub(super) fn right(&self) -> i32 {
        let lanes = self.diagram.lanes.len().max(1);
        self.x(lanes - 1) + self.width
    }

    /// Begins a box.
    pub(super) fn open(&mut self, lane: usize, depth: usize, class: &str) -> Frame {
        self.y += PAD;
        let y = self.y;
        self.y += PAD / 2;
        Frame {
            lane,
            depth,
            y,
            class: class.into(),
        }
    }

    /// Ends a box.
    pub(super) fn close(&mut self, at: &Frame) {
        self.y += PAD / 2 + 1;
        let inset = 5 * at.depth as i32;
        let (x, width) = (self.x(at.lane) + inset, self.width - 2 * inset);
        let (y, height, class) = (at.y, self.y - at.y, &at.class);
        let shape = html! { rect.(class) x=(x) y=(y) width=(width) height=(height) rx="4" {} };
        self.boxes.push((at.depth, shape));
    }

    /// A text in a lane, broken where it is too long. Returns which of the words it begins with.
    pub(super) fn text(
        &mut self,
        lane: usize,
        depth: usize,
        class: &'static str,
        text: &str,
    ) -> usize {
        let indent = match class {
            "does" => 2 * PAD,
            _ => 0,
        };
        let x = self.x(lane) + PAD + 5 * depth as i32 + indent;
        let columns = self.columns - 2 * depth - indent as usize / PAD as usize;
        let first = self.words.len();
        for (nth, text) in wrapped(text, columns).into_iter().enumerate() {
            self.y += LINE;
            let hang = if nth == 0 { 0 } else { 2 * CHARACTER / 10 };
            let (x, y) = (x + hang, self.y - 4);
            self.words.push(Word { x, y, class, text });
        }
        first
    }

    /// Another class for words that are there.
    pub(super) fn restyle(&mut self, from: usize, to: usize, class: &'static str) {
        for word in &mut self.words[from..to] {
            word.class = class;
        }
    }

    /// How many words there are.
    pub(super) fn said(&self) -> usize {
        self.words.len()
    }

    /// A text at this place.
    pub(super) fn put(&mut self, x: i32, y: i32, class: &'static str, text: &str) {
        let text = text.to_string();
        self.words.push(Word { x, y, class, text });
    }

    /// A piece of the line of a lane's life.
    pub(super) fn life(&mut self, lane: usize, from: i32, to: i32, class: &str) {
        if from < to {
            let x = self.x(lane) + LIFE;
            let line = html! { line.life.(class) x1=(x) y1=(from) x2=(x) y2=(to) {} };
            self.lines.push(line);
        }
    }

    /// A line over all lanes.
    pub(super) fn rule(&mut self, class: &str) {
        let (left, right, y) = (MARGIN, self.right(), self.y);
        self.lines
            .push(html! { line.rule.(class) x1=(left) y1=(y) x2=(right) y2=(y) {} });
    }

    /// An arrow along these points.
    pub(super) fn arrow(&mut self, class: &str, points: &[(i32, i32)]) {
        let [.., from, to] = points else { return };
        let (dx, dy) = ((to.0 - from.0) as f64, (to.1 - from.1) as f64);
        let length = dx.hypot(dy).max(1.0);
        // The head: two points behind its tip, on both sides.
        let (ux, uy) = (dx / length, dy / length);
        let side = |sign: f64| {
            let x = f64::from(to.0) - 8.0 * ux - sign * 4.0 * uy;
            let y = f64::from(to.1) - 8.0 * uy + sign * 4.0 * ux;
            format!("{x:.1} {y:.1}")
        };
        let head = format!("M{} {}L{}L{}Z", to.0, to.1, side(1.0), side(-1.0));
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let path = format!("M{}", path.join("L"));
        self.arrows.push(html! {
            path.arrow.(class) d=(path) {}
            path.head.(class) d=(head) {}
        });
    }

    /// A message that does not arrive: it leaves, and ends in a cross.
    pub(super) fn stub(&mut self, from: i32, to: i32, y: i32) {
        let path = format!("M{from} {y}L{to} {y}");
        self.arrows.push(html! { path.arrow.lost d=(path) {} });
        self.cross("lost", to, y, 3);
    }

    /// A sentence across all lanes.
    pub(super) fn across(&mut self, text: &str) {
        self.y += LINE;
        let (x, y) = (self.left, self.y - 1);
        self.put(x, y, "again", text);
        self.y += PAD / 2;
    }

    /// A cross: here something ends.
    pub(super) fn cross(&mut self, class: &str, x: i32, y: i32, size: i32) {
        let (l, r, t, b) = (x - size, x + size, y - size, y + size);
        let path = format!("M{l} {t}L{r} {b}M{l} {b}L{r} {t}");
        self.arrows.push(html! { path.cross.(class) d=(path) {} });
    }

    /// A mark on the line of a lane's life, beside the text that was put last.
    pub(super) fn mark(&mut self, class: &str, x: i32, y: i32) {
        let shape = match class {
            "disk" => html! { rect.mark x=(x - 4) y=(y - 4) width="8" height="8" rx="1" {} },
            "sends" => {
                html! { path.head.mark d=(format!("M{} {}L{} {y}L{} {}Z", x, y - 5, x + 9, x, y + 5)) {} }
            }
            _ => html! { circle.mark cx=(x) cy=(y) r="4" {} },
        };
        self.arrows.push(shape);
    }

    /// The foot: what broke, and how to read it all. Then the whole drawing, which begins with the [`MARK`]; `name` is that of the history, and
    /// unique in its page.
    pub(super) fn finish(mut self, name: &str, legend: &str, style: bool) -> Markup {
        let diagram = self.diagram;
        self.y += PAD;
        self.rule("bad");
        self.y += PAD;
        // A proportional face, of which no letter is as wide as this on average.
        let columns = (self.right() - MARGIN - 30) as usize;
        for (nth, sentence) in diagram.wrong().enumerate() {
            if nth == 0 {
                self.cross("bad", MARGIN + 9, self.y + LINE - 3, 5);
            }
            for line in wrapped(sentence, columns / 8) {
                self.y += 20;
                self.put(MARGIN + 24, self.y - 2, "broken", &line);
            }
        }
        self.y += PAD;
        for line in wrapped(legend, columns / 7) {
            self.y += LINE;
            self.put(MARGIN, self.y, "legend", &line);
        }
        let (width, height) = (self.right() + MARGIN, self.y + MARGIN);
        self.boxes.sort_by_key(|(depth, _)| *depth);
        let (title, described) = (format!("{name}-title"), format!("{name}-desc"));
        let drawing = format!("{name}-drawing");
        html! {
            @if !style { (sheets(&drawing, &self.cuts, width, height)) }
            svg.diagram xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby={ (title) " " (described) }
                width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
                title id=(title) { "The history that breaks " (name) }
                desc id=(described) {
                    "A space-time diagram; time runs downwards. Its lanes are " (diagram.lanes.join(", ")) ". It ends with: "
                    (diagram.wrong().collect::<Vec<_>>().join(" "))
                }
                @if style { style { (PreEscaped(STYLE)) } }
                // Of the class as well, for a sheet shows this and not what is around it.
                g.diagram id=(drawing) {
                    rect.paper width=(width) height=(height) {}
                    @for shape in &self.lines { (shape) }
                    @for (_, shape) in &self.boxes { (shape) }
                    @for shape in &self.arrows { (shape) }
                    @for word in &self.words { text.(word.class) x=(word.x) y=(word.y) { (word.text) } }
                }
            }
        }
    }
}

/// The same drawing in pieces, for paper: a sheet ends where the names of the lanes are said again, and not in the middle of a line.
fn sheets(drawing: &str, cuts: &[i32], width: i32, height: i32) -> Markup {
    let ends = cuts.iter().copied().chain([height]);
    let begins = [0].into_iter().chain(cuts.iter().copied());
    html! {
        @if !cuts.is_empty() {
            div.sheets aria-hidden="true" {
                @for (from, to) in begins.zip(ends) {
                    svg.sheet width=(width) height=(to - from) viewBox={ "0 " (from) " " (width) " " (to - from) } {
                        use href={ "#" (drawing) } {}
                    }
                }
            }
        }
    }
}

/// The lines of a text that has room for so many characters in each, but for two less in all but the first.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    let mut room = columns;
    while !rest.is_empty() {
        let end = cut(rest, room.max(8));
        // Not a word alone that is shorter than the break.
        let short = |end: usize| end < rest.len() && rest[end..].trim().chars().count() < 6;
        let before = rest[..end].trim_end().rfind(' ').filter(|&at| at > 12);
        let end = before.filter(|_| short(end)).unwrap_or(end);
        lines.push(rest[..end].trim_end().to_string());
        rest = rest[end..].trim_start();
        room = columns - 2;
    }
    lines
}
