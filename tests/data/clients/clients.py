"""GET each URL with the named library, print the status."""
import sys

library, urls = sys.argv[1], sys.argv[2:]
if library == "urllib":
    import urllib.error
    import urllib.request

    def get(url):
        try:
            return urllib.request.urlopen(url, timeout=20).status
        except urllib.error.HTTPError as refused:
            return refused.code
elif library == "requests":
    import requests

    def get(url):
        return requests.get(url, timeout=20).status_code
elif library == "httpx":
    import httpx

    def get(url):
        return httpx.get(url, timeout=20).status_code
for url in urls:
    print(get(url))
