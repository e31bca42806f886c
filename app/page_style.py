"""The web page's looks: a theme with system fonts, and rules that follow its dark mode."""

from gradio.themes import Default, Font, colors

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONOSPACE_FONTS = ("ui-monospace", "Consolas", "monospace")

# Colours are chosen for a contrast of 4.5 : 1 or more, of text with what is behind it.
THEME = Default(
    primary_hue=colors.teal,
    secondary_hue=colors.teal,
    neutral_hue=colors.slate,
    font=[Font(name) for name in _FONTS],
    font_mono=[Font(name) for name in _MONOSPACE_FONTS],
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_title_text_weight="600",
    block_radius="12px",
    input_placeholder_color="*neutral_500",
    link_text_color="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
)

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.tf-head h1 { font-size: 1.6rem; font-weight: 650; margin: 0.4rem 0 0.1rem; }
.tf-head p { color: var(--body-text-color-subdued); margin: 0; }
.tf-head .html-container, .tf-view .html-container { padding: 0 !important; }
.tf-view [data-testid="status-tracker"] .error { display: none; }
footer .divider:last-child { display: none; }
.tf-empty {
  border: 1px dashed var(--border-color-primary); border-radius: 12px;
  padding: 3.5rem 1.5rem; text-align: center; color: var(--body-text-color-subdued);
}
.tf-result {
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 12px; padding: 1.25rem 1.5rem; overflow-wrap: anywhere;
}
.tf-result h2 { font-size: 1.2rem; line-height: 1.35; font-weight: 650; margin: 0; }
.tf-meta { color: var(--body-text-color-subdued); font-size: 0.88rem; margin: 0.3rem 0 0; }
.tf-sentences { list-style: none; margin: 1rem 0 0; padding: 0; }
.tf-sentences > li {
  padding: 0.8rem 0; border-top: 1px solid var(--border-color-primary);
  font-size: 1.02rem; line-height: 1.6;
}
.tf-sentences summary {
  display: inline-flex; align-items: center; gap: 0.35em; list-style: none; cursor: pointer;
  margin-top: 0.4rem; padding: 0.05rem 0.65rem; border-radius: 999px; font-size: 0.82rem;
  color: var(--primary-700); background: var(--primary-50);
  border: 1px solid var(--primary-200);
}
.tf-sentences summary::-webkit-details-marker { display: none; }
.tf-sentences summary::after { content: "▾"; font-size: 0.9em; }
.tf-sentences details[open] > summary::after { content: "▴"; }
.tf-sentences summary:hover { border-color: var(--primary-500); }
.dark .tf-sentences summary {
  color: var(--primary-200); background: var(--neutral-800); border-color: var(--neutral-600);
}
.tf-sentences blockquote {
  margin: 0.5rem 0 0; padding: 0.2rem 0 0.2rem 0.9rem; font-size: 0.93rem;
  color: var(--body-text-color-subdued); border-left: 3px solid var(--primary-200);
}
.tf-sentences mark { background: #fef3c7; color: #1f2937; border-radius: 3px; padding: 0 0.15em; }
.dark .tf-sentences mark { background: #854d0e; color: #fef9c3; }
.tf-mark { color: #b45309; font-size: 0.88em; }
.dark .tf-mark { color: #fbbf24; }
.tf-draft { margin: 1rem 0 0; line-height: 1.55; }
.tf-draft::after { content: "▍"; color: var(--primary-500); }
.tf-notes {
  margin: 0.4rem 0 0; padding: 0.6rem 0.9rem 0.6rem 1.9rem; border-radius: 8px;
  font-size: 0.9rem; background: var(--background-fill-secondary);
}
.tf-actions { display: flex; flex-wrap: wrap; gap: 0.6rem; margin-top: 1rem; }
.tf-actions button, .tf-actions a {
  padding: 0.35rem 0.95rem; border-radius: 8px; cursor: pointer;
  display: inline-flex; align-items: center; margin: 0; font: inherit; font-size: 0.9rem;
  line-height: 1.5; box-shadow: none;
  border: 1px solid var(--border-color-primary); text-decoration: none;
  color: var(--body-text-color); background: var(--background-fill-secondary);
}
.tf-actions button:hover, .tf-actions a:hover { border-color: var(--primary-500); }
.tf-result :is(button, a, summary):focus-visible {
  outline: 2px solid var(--primary-500); outline-offset: 2px;
}
@media (max-width: 640px) {
  .gradio-container { padding: 0.6rem !important; }
  .tf-result { padding: 1rem; }
  .tf-empty { padding: 1.5rem 1rem; }
}
"""
