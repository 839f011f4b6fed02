"""One Flask page: a route, a Jinja template with a loop, an escaped value."""

from flask import Flask, render_template_string, request

app = Flask(__name__)
ROWS = [{"name": f"Item <{number}>", "price": number * 1.37} for number in range(20)]
PAGE = """<!doctype html><html><head><title>{{ title }}</title></head><body><ul>
{% for row in rows %}<li class="{{ loop.cycle('odd', 'even') }}">{{ row.name }}: {{ '%.2f' % row.price }}</li>
{% endfor %}</ul></body></html>"""


@app.get("/")
def page():
    return render_template_string(PAGE, title=request.args.get("q", "Catalogue"), rows=ROWS)
