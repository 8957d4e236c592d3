"""What mypy has to be told of this style: methods that `@patch` adds to a class, and attributes of modules.

A plugin, named in `pyproject.toml`. A function decorated with fastcore's `@patch` becomes a method of
the class that its first parameter is annotated with, if the class is in the same module. An attribute
that PyTorch finds in a module's `__getattr__` may be anything: PyTorch's own stubs say `Tensor | Module`.
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
        typed = isinstance(f.unanalyzed_type, CallableType) and f.unanalyzed_type.arg_types
        if not typed or not isinstance(typed[0], UnboundType) or typed[0].name != info.name: continue
        there = info.names.get(f.name)
        if there and there.node.info is info: continue   # written in the class, or added a round before
        var = Var(f.name, ANYTHING)
        var.info = info
        info.names[f.name] = SymbolTableNode(MDEF, var)


def _method_type(ctx, module, cls, name):
    "The type of a patched method, without its `self`; anything where it is a property or a class method"
    node = ctx.api.modules[module].names.get(name)
    node = node and node.node
    if not _is_patched(node) or any(isinstance(d, CallExpr) for d in node.original_decorators):
        return ctx.default_attr_type
    t = node.func.type
    first = isinstance(t, CallableType) and t.arg_types and t.arg_types[0]
    if not isinstance(first, Instance) or first.type.name != cls: return ctx.default_attr_type
    return t.copy_modified(arg_types=t.arg_types[1:], arg_kinds=t.arg_kinds[1:], arg_names=t.arg_names[1:])


class Patched(Plugin):
    def get_customize_class_mro_hook(self, fullname):
        if fullname.startswith('cargan.'): return _add_methods

    def get_attribute_hook(self, fullname):
        if fullname.startswith(MODULE): return lambda ctx: ANYTHING
        if not fullname.startswith('cargan.'): return None
        owner, _, name = fullname.rpartition('.')
        module, _, cls = owner.rpartition('.')
        return lambda ctx: _method_type(ctx, module, cls, name) if module in ctx.api.modules else ctx.default_attr_type


def plugin(version): return Patched
