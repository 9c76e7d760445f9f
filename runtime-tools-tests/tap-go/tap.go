// Package tap prints the Test Anything Protocol: what the suite uses of github.com/mndrix/tap-go, the one import
// of it that Debian does not have.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T numbers and prints the results of one test program.
type T struct {
	count  *int
	todo   bool
	writer io.Writer
}

// New makes a printer to standard output.
func New() *T {
	return &T{count: new(int), writer: os.Stdout}
}

// Header opens the stream. A plan of 0 tests is not known yet: AutoPlan prints it at the end.
func (t *T) Header(plan int) {
	fmt.Fprintln(t.writer, "TAP version 13")
	if plan > 0 {
		fmt.Fprintf(t.writer, "1..%d\n", plan)
	}
}

// AutoPlan prints a plan of as many tests as there were.
func (t *T) AutoPlan() {
	fmt.Fprintf(t.writer, "1..%d\n", *t.count)
}

func (t *T) result(word, mark, description string) {
	*t.count++
	fmt.Fprintf(t.writer, "%s %d%s %s\n", word, *t.count, mark, description)
}

// Ok prints one result.
func (t *T) Ok(passed bool, description string) {
	word, mark := "ok", " -"
	if !passed {
		word = "not ok"
	}
	if t.todo {
		mark = " # TODO"
	}
	t.result(word, mark, description)
}

// Pass prints a good result.
func (t *T) Pass(description string) {
	t.Ok(true, description)
}

// Fail prints a bad result.
func (t *T) Fail(description string) {
	t.Ok(false, description)
}

// Skip prints that count tests were not made.
func (t *T) Skip(count int, description string) {
	for ; count > 0; count-- {
		t.result("ok", " # SKIP", description)
	}
}

// Todo gives a printer of results that are not expected to be good yet. It numbers on with this one.
func (t *T) Todo() *T {
	todo := *t
	todo.todo = true
	return &todo
}

// Diagnostic prints a comment.
func (t *T) Diagnostic(message string) {
	fmt.Fprintln(t.writer, "# "+strings.ReplaceAll(message, "\n", "\n# "))
}

// Diagnosticf formats a comment.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML prints what belongs to the result before. JSON is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		fmt.Fprintf(t.writer, "  ---\n  %s\n  ...\n", text)
	}
	return err
}
