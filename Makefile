# Each line calls tools/course.py, which also works where make is missing:
#   python3 tools/course.py book        (Windows: py tools\course.py book)
PYTHON ?= python3
COURSE = $(PYTHON) tools/course.py

.PHONY: book test build serve setup bench students lock clean help
help:           ## show these commands
	@grep -E '^[a-z]+: .*##' Makefile | sed 's/: *##/\t/' | sed 's/^/make /'
book:           ## set up, build and serve the book; ARGS="--port 9000 --no-open"
	@$(COURSE) book $(ARGS)
test:           ## test everything; ARGS="unit notebooks" for some stages
	@$(COURSE) test $(ARGS)
build:          ## build without serving; EDITION=students leaves the solutions out
	@$(COURSE) build $(ARGS)
serve:          ## serve what was built
	@$(COURSE) serve $(ARGS)
setup:          ## only set up the environment
	@$(COURSE) setup
bench:          ## compare speed and quality with other libraries
	@$(COURSE) bench
students:       ## pack the notebooks without solutions
	@$(COURSE) students
lock:           ## compile requirements.txt anew
	@$(COURSE) lock
clean:          ## remove what was built
	@$(COURSE) clean
