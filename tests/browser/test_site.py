"Every page of the site, at the width of a laptop and of a phone"
import pytest
from built import DOCS

PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob('*.html')
               if 'site_libs' not in p.parts and 'source' not in p.relative_to(DOCS).parts)

UNFIT = '''() => {
    const wide = document.documentElement.scrollWidth > window.innerWidth
    const out = wide ? [`scrolls sideways: ${document.documentElement.scrollWidth} px`] : []
    for (const im of document.images) {
        if (!im.alt) out.push(`no alternative text: ${im.src.slice(0, 80)}`)
        if (im.complete && !im.naturalWidth) out.push(`no picture: ${im.src.slice(0, 80)}`)
    }
    for (const m of document.querySelectorAll('.math'))
        if (!m.querySelector('.katex') || m.querySelector('.katex-error'))
            out.push(`not typeset: ${m.textContent.slice(0, 80)}`)
    return out
}'''


@pytest.mark.parametrize('name', PAGES or ['none'])
def test_page(opened, site, name):
    page, seen = opened(f'{site}/{name}')
    for width in (1200, 390):
        page.set_viewport_size(dict(width=width, height=900))
        page.wait_for_timeout(200)
        assert page.evaluate(UNFIT) == [], width
    assert seen.wrong == []


def test_there_are_equations(opened, site):
    page, _ = opened(f'{site}/05_adversary.html')
    assert page.locator('.math .katex').count() >= 2


@pytest.mark.parametrize('name', ('index', '01_tour', '02_sound'))
def test_a_sound_plays(opened, site, name):
    page, _ = opened(f'{site}/{name}.html')
    page.evaluate('document.querySelector("audio").play()')
    page.wait_for_function('document.querySelector("audio").currentTime > .1')


def test_search_finds_a_class(opened, site):
    page, _ = opened(f'{site}/index.html')
    page.get_by_placeholder('Search').first.fill('Translator')
    found = page.locator('a[href*="translate.html"]:visible')
    found.first.wait_for()
    found.first.click()
    page.wait_for_url('**/translate.html*')
    assert 'Translator' in page.content()


def test_dark_and_light(opened, site):
    page, _ = opened(f'{site}/index.html')
    shade = 'getComputedStyle(document.body).backgroundColor'
    light = page.evaluate(shade)
    page.locator('[title*="dark" i], [aria-label*="dark" i]').first.click()
    assert page.evaluate(shade) != light
