"""What mypy has to be told of this style: methods that `@patch` adds, and attributes of modules.

A plugin, named in `pyproject.toml`. A function decorated with fastcore's `@patch` becomes a method
of the class that its first parameter is annotated with, if the class is in the same module. What
PyTorch finds in a module's `__getattr__` may be anything; its own stubs say `Tensor | Module`.
"""
from mypy.nodes import MDEF, CallExpr, Decorator, NameExpr, SymbolTableNode, Var
from mypy.plugin import Plugin
from mypy.types import AnyType, CallableType, Instance, TypeOfAny, UnboundType

MODULE = 'torch.nn.modules.module.Module.'
ANYTHING = AnyType(TypeOfAny.special_form)


def _is_patched(node):
    "Is this a function with `@patch`, bare or called?"
    if not isinstance(node, Decorator): return False
    names = [d.callee if isinstance(d, CallExpr) else d for d in node.original_decorators]
    return any(isinstance(n, NameExpr) and n.name == 'patch' for n in names)


def _add_methods(ctx):
    "Give the class the names that are patched onto it further down in its module"
    info = ctx.cls.info
    for node in filter(_is_patched, ctx.api.modules[info.module_name].defs):
        f = node.func
        args = isinstance(f.unanalyzed_type, CallableType) and f.unanalyzed_type.arg_types
        if not args or not isinstance(args[0], UnboundType) or args[0].name != info.name: continue
        there = info.names.get(f.name)
        if there and there.node.info is info: continue   # in the class, or added a round before
        var = Var(f.name, ANYTHING)
        var.info = info
        info.names[f.name] = SymbolTableNode(MDEF, var)


def _method_type(ctx, module, cls, name):
    "The type of a patched method without its `self`; what mypy thinks for all that is none"
    known = ctx.api.modules[module].names.get(name) if module in ctx.api.modules else None
    node = known and known.node
    bare = _is_patched(node) and not any(isinstance(d, CallExpr) for d in node.original_decorators)
    t = node.func.type if bare else None                # `@patch(...)` makes properties
    first = isinstance(t, CallableType) and t.arg_types and t.arg_types[0]
    if not isinstance(first, Instance) or first.type.name != cls: return ctx.default_attr_type
    types, kinds, names = t.arg_types[1:], t.arg_kinds[1:], t.arg_names[1:]
    return t.copy_modified(arg_types=types, arg_kinds=kinds, arg_names=names)


class Patched(Plugin):
    def get_customize_class_mro_hook(self, fullname):
        if fullname.startswith('cargan.'): return _add_methods

    def get_attribute_hook(self, fullname):
        if fullname.startswith(MODULE): return lambda ctx: ANYTHING
        if not fullname.startswith('cargan.'): return None
        owner, _, name = fullname.rpartition('.')
        module, _, cls = owner.rpartition('.')
        return lambda ctx: _method_type(ctx, module, cls, name)


def plugin(version): return Patched
