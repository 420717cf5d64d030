package interp

import (
	"slices"

	"go.starlark.net/syntax"
)

// prepare refuses a syntax tree deeper than limit, and makes its repetitions
// report where they are (see positioned). The parser bounds its
// own recursion, but builds chains such as a+b+c, a.b.c, f()()() and elif
// in loops, as deep as they are long, and everything after the parser is
// recursive. So this walk isn't.
func prepare(file *syntax.File, limit int) error {
	level := make([]syntax.Node, 0, len(file.Stmts))
	for _, stmt := range file.Stmts {
		level = append(level, stmt)
	}
	var next []syntax.Node
	for depth := 1; len(level) > 0; depth++ {
		if depth > limit {
			return nestingLimit(PositionOf(start(level[0])))
		}
		next = next[:0]
		for _, node := range level {
			if binary, ok := node.(*syntax.BinaryExpr); ok && binary.Op == syntax.STAR {
				binary.X, binary.Y = positioned(binary.X), positioned(binary.Y)
			}
			next = appendChildren(next, node)
		}
		level, next = next, level
	}
	return nil
}

// positioned returns an operand of a repetition that leaves its position
// behind. Interp.step sees the position of the instruction before the one
// that comes next, and literals have none: without this, "x" * 1000000000
// would be reported for whatever line came before it. The expression e[:]
// has the value of e, and a position.
func positioned(e syntax.Expr) syntax.Expr {
	inner := e
	for {
		paren, ok := inner.(*syntax.ParenExpr)
		if !ok {
			break
		}
		inner = paren.X
	}
	switch x := inner.(type) {
	case *syntax.Literal:
		if x.Token != syntax.STRING && x.Token != syntax.BYTES {
			return e
		}
	case *syntax.ListExpr, *syntax.TupleExpr:
	default:
		return e
	}
	return &syntax.SliceExpr{X: e, Lbrack: start(e)}
}

// start returns where a node begins. Unlike syntax.Start it does not
// recurse, so that it can be asked about a tree of any depth.
func start(n syntax.Node) syntax.Position {
	for {
		switch x := n.(type) {
		case *syntax.BinaryExpr:
			n = x.X
		case *syntax.DotExpr:
			n = x.X
		case *syntax.CallExpr:
			n = x.Fn
		case *syntax.IndexExpr:
			n = x.X
		case *syntax.SliceExpr:
			n = x.X
		case *syntax.CondExpr:
			n = x.True
		case *syntax.DictEntry:
			n = x.Key
		case *syntax.ExprStmt:
			n = x.X
		case *syntax.AssignStmt:
			n = x.LHS
		case *syntax.TupleExpr:
			if x.Lparen.IsValid() || len(x.List) == 0 {
				return x.Lparen
			}
			n = x.List[0]
		default:
			return firstToken(n)
		}
	}
}

// firstToken returns the position of a node that begins with a token of its
// own.
func firstToken(n syntax.Node) syntax.Position {
	switch n := n.(type) {
	case *syntax.Ident:
		return n.NamePos
	case *syntax.Literal:
		return n.TokenPos
	case *syntax.ParenExpr:
		return n.Lparen
	case *syntax.ListExpr:
		return n.Lbrack
	case *syntax.DictExpr:
		return n.Lbrace
	case *syntax.Comprehension:
		return n.Lbrack
	case *syntax.LambdaExpr:
		return n.Lambda
	case *syntax.UnaryExpr:
		return n.OpPos
	case *syntax.IfStmt:
		return n.If
	case *syntax.ForStmt:
		return n.For
	case *syntax.DefStmt:
		return n.Def
	case *syntax.ReturnStmt:
		return n.Return
	case *syntax.BranchStmt:
		return n.TokenPos
	case *syntax.LoadStmt:
		return n.Load
	case *syntax.ForClause:
		return n.For
	case *syntax.IfClause:
		return n.If
	}
	return syntax.Position{}
}

// appendChildren appends the nodes directly below n.
func appendChildren(nodes []syntax.Node, n syntax.Node) []syntax.Node {
	switch n := n.(type) {
	case *syntax.AssignStmt:
		return append(nodes, n.LHS, n.RHS)
	case *syntax.DefStmt:
		return appendStmts(appendExprs(nodes, n.Params...), n.Body)
	case *syntax.ExprStmt:
		return append(nodes, n.X)
	case *syntax.IfStmt:
		return appendStmts(appendStmts(append(nodes, n.Cond), n.True), n.False)
	case *syntax.ForStmt:
		return appendStmts(append(nodes, n.Vars, n.X), n.Body)
	case *syntax.WhileStmt:
		return appendStmts(append(nodes, n.Cond), n.Body)
	case *syntax.ReturnStmt:
		return appendExprs(nodes, n.Result)
	case *syntax.ForClause:
		return append(nodes, n.Vars, n.X)
	case *syntax.IfClause:
		return append(nodes, n.Cond)
	case syntax.Expr:
		return appendOperands(nodes, n)
	}
	return nodes // load, break, continue, pass
}

// appendOperands is appendChildren for expressions.
func appendOperands(nodes []syntax.Node, e syntax.Expr) []syntax.Node {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return append(nodes, e.X)
	case *syntax.CallExpr:
		return appendExprs(append(nodes, e.Fn), e.Args...)
	case *syntax.DotExpr:
		return append(nodes, e.X)
	case *syntax.Comprehension:
		return append(append(nodes, e.Body), e.Clauses...)
	case *syntax.ListExpr:
		return appendExprs(nodes, e.List...)
	case *syntax.DictExpr:
		return appendExprs(nodes, e.List...)
	case *syntax.DictEntry:
		return append(nodes, e.Key, e.Value)
	case *syntax.CondExpr:
		return append(nodes, e.Cond, e.True, e.False)
	case *syntax.LambdaExpr:
		return append(appendExprs(nodes, e.Params...), e.Body)
	case *syntax.TupleExpr:
		return appendExprs(nodes, e.List...)
	case *syntax.UnaryExpr:
		return appendExprs(nodes, e.X)
	case *syntax.BinaryExpr:
		return append(nodes, e.X, e.Y)
	case *syntax.IndexExpr:
		return append(nodes, e.X, e.Y)
	case *syntax.SliceExpr:
		return appendExprs(append(nodes, e.X), e.Lo, e.Hi, e.Step)
	}
	return nodes // identifiers and literals
}

func appendExprs(nodes []syntax.Node, exprs ...syntax.Expr) []syntax.Node {
	nodes = slices.Grow(nodes, len(exprs))
	for _, expr := range exprs {
		if expr != nil {
			nodes = append(nodes, expr)
		}
	}
	return nodes
}

func appendStmts(nodes []syntax.Node, stmts []syntax.Stmt) []syntax.Node {
	for _, stmt := range stmts {
		nodes = append(nodes, stmt)
	}
	return nodes
}
